#!/bin/bash
# Build the test guest's vmlinuz and initrd.gz from Debian packages, this machine's busybox and the writer.
#   build_guest.sh OUT PACKAGES                         kernel and initrd; .deb files are kept in PACKAGES
#   build_guest.sh disk FILE.qcow2 SIZE_MB [RANDOM_MB] [SEED]   an ext4 data disk on qcow2
# Both are bit for bit reproducible.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
export SOURCE_DATE_EPOCH=1700000000 LC_ALL=C TZ=UTC
# load order matters: each needs symbols of those before it
modules="failover net_failover virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci \
virtio_blk virtio_console virtio_net virtio_balloon virtio-rng evdev button"

make_disk() {
  file=$1
  local size_mb=$2 random_mb=${3:-0} seed=${4:-1}
  work=$(mktemp -d)
  trap 'rm -rf "$work" "$file.raw" "$file.new"' EXIT
  mkdir "$work/root"
  echo "seed=$seed" >"$work/root/README"
  if [ "$random_mb" -gt 0 ]; then
    head -c $((random_mb << 20)) /dev/zero \
      | openssl enc -aes-128-ctr -K "$(printf %032x "$seed")" -iv 0 >"$work/root/random.bin" 2>/dev/null
    (cd "$work/root" && sha256sum random.bin >random.sha256)
  fi
  find "$work/root" -exec touch -h -d @$SOURCE_DATE_EPOCH {} +
  rm -f "$file.raw"
  truncate -s "${size_mb}M" "$file.raw"
  E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -b 4096 -L data -m 0 \
    -U 11111111-2222-3333-4444-555555555555 \
    -E hash_seed=11111111-2222-3333-4444-555555555556,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0 \
    -d "$work/root" "$file.raw"
  qemu-img convert -q -f raw -O qcow2 "$file.raw" "$file.new"
  mv "$file.new" "$file"
}

fetch_packages() {
  local into=$1 kernel
  ls "$into"/linux-image-[0-9]*.deb "$into"/qemu-guest-agent_*.deb >/dev/null 2>&1 && return 0
  mkdir -p "$into"
  [ "$(id -u)" != 0 ] || apt-get -qq -o DPkg::Lock::Timeout=300 update
  kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-.*cloud/{print $2; exit}')
  (cd "$into" && apt-get -qq -o APT::Sandbox::User=root download "$kernel" qemu-guest-agent)
}

lay_out_root() {
  local unpacked=$1 tree=$2 name
  mkdir -p "$tree"/{bin,sbin,usr/sbin,proc,sys,dev,run,tmp,data,etc/acpi/PWRF,lib/modules,lib/x86_64-linux-gnu,lib64,var}
  ln -s /run "$tree/var/run"
  echo 'root:x:0:0:root:/:/bin/sh' >"$tree/etc/passwd"
  cp "$(command -v busybox)" "$tree/bin/busybox"
  for name in $("$tree/bin/busybox" --list); do
    [ "$name" = busybox ] || ln -sf busybox "$tree/bin/$name"
  done
  ln -sf busybox "$tree/bin/fsfreeze"
  rm -f "$tree/bin/shutdown" "$tree/bin/init"
  for name in $modules; do
    cp "$(find "$unpacked/lib/modules" -name "$name.ko" -print -quit)" "$tree/lib/modules/"
    echo "$name"
  done >"$tree/lib/modules.order"
  cp "$unpacked/usr/sbin/qemu-ga" "$tree/usr/sbin/"
  ldd "$unpacked/usr/sbin/qemu-ga" | awk '$3 ~ /^\//{print $3}' | while read -r name; do
    cp -L "$name" "$tree/lib/x86_64-linux-gnu/"
  done
  cp -L /lib64/ld-linux-x86-64.so.2 "$tree/lib64/"
  gcc -O2 -static -o "$tree/bin/writer" "$here/guest/writer.c"
  strip "$tree/bin/writer"
  install -m755 "$here/guest/init" "$tree/init"
  install -m755 "$here/guest/shutdown" "$tree/sbin/shutdown"
  printf '#!/bin/sh\nexec /sbin/shutdown -P +0 button\n' >"$tree/etc/acpi/PWRF/00000080"
  chmod 755 "$tree/etc/acpi/PWRF/00000080"
  find "$tree" -exec touch -h -d @$SOURCE_DATE_EPOCH {} +
}

make_guest() {
  local out=$1 debs=$2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  fetch_packages "$debs"
  mkdir -p "$out"
  for package in "$debs"/linux-image-[0-9]*-cloud-amd64_*.deb "$debs"/qemu-guest-agent_*.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
  done
  cp "$work"/unpacked/boot/vmlinuz-* "$out/vmlinuz"
  lay_out_root "$work/unpacked" "$work/tree"
  (cd "$work/tree" && find . -print0 | sort -z | cpio --null -o -H newc -R 0:0 --reproducible --quiet) \
    | gzip -n -1 >"$out/initrd.gz"
}

if [ "${1:-}" = disk ]; then
  shift
  make_disk "$@"
else
  make_guest "$1" "$2"
fi
