#!/bin/bash
# guest.sh OUT.raw: a bootable BIOS disk of a few MiB: Debian's cloud kernel, a
# busybox initramfs and qemu-guest-agent. Needs apt, no root file system.
set -euo pipefail
out=$(realpath -m "$1"); work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-.*cloud/{print $2; exit}')
export DEBIAN_FRONTEND=noninteractive
dpkg -s syslinux mtools dosfstools cpio kmod >/dev/null 2>&1 ||
    apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends syslinux mtools dosfstools cpio kmod >/dev/null
fetch() { apt-get download -q "$kernel" busybox-static qemu-guest-agent liburing2 >/dev/null 2>&1; }
fetch || { apt-get -o DPkg::Lock::Timeout=300 update -q >/dev/null; fetch; }
for d in *.deb; do dpkg -x "$d" x; done
version=${kernel#linux-image-}; version=${version%-unsigned}
mods=x/lib/modules/$version
mkdir -p r/{bin,dev,proc,sys,run,tmp,mnt,etc,usr/sbin,lib64,mods,var/run}
cp x/bin/busybox r/bin/; cp x/usr/sbin/qemu-ga r/usr/sbin/
LD_LIBRARY_PATH=$work/x/usr/lib/x86_64-linux-gnu ldd x/usr/sbin/qemu-ga |
    grep -o '/[^ ]*' | while read -r lib; do mkdir -p "r$(dirname "${lib/#$work\/x/}")"; cp -L "$lib" "r${lib/#$work\/x/}"; done
depmod -b x "$version"
for m in virtio_pci virtio_blk virtio_console vfat nls_cp437 nls_ascii nls_iso8859-1 virtio_scsi sd_mod button; do
    modprobe -d "$work/x" -S "$version" --show-depends $m 2>/dev/null |
        awk '/^insmod/{print $2}' | while read -r f; do
        n=$(basename "$f"); [ -e "r/mods/$n" ] || { cp "$f" r/mods/; echo "$n" >>r/mods/order; }; done
done
cat >r/init <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/sbin LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for m in $(cat /mods/order); do insmod /mods/$m 2>/dev/null; done
mkdir -p /dev/virtio-ports
for p in /sys/class/virtio-ports/*; do
    [ -e $p/name ] && ln -s ../$(basename $p) /dev/virtio-ports/$(cat $p/name)
done
mount -t vfat /dev/vda /mnt
echo "guest is up"
[ -e /dev/virtio-ports/org.qemu.guest_agent.0 ] && qemu-ga -v -l /dev/ttyS0 -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run &
acpid -f >/dev/null 2>&1 &
exec sh -c 'while :; do sleep 60; done'
END
mkdir -p r/etc/acpi/PWRF; printf '#!/bin/sh\npoweroff -f\n' >r/etc/acpi/PWRF/00000080; chmod 755 r/init r/etc/acpi/PWRF/00000080
(cd r && find . | cpio -o -H newc --quiet | gzip -9) >initrd.gz
truncate -s 32M disk.raw
mkfs.vfat -n GUEST disk.raw >/dev/null
syslinux --install disk.raw
printf 'DEFAULT l\nPROMPT 0\nTIMEOUT 1\nLABEL l\n KERNEL vmlinuz\n INITRD initrd.gz\n APPEND console=ttyS0 quiet panic=5 random.trust_cpu=on\n' >syslinux.cfg
mcopy -i disk.raw x/boot/vmlinuz-* ::vmlinuz
mcopy -i disk.raw initrd.gz syslinux.cfg ::
mv disk.raw "$out"; ls -la "$out" initrd.gz x/boot/vmlinuz-*; cat r/mods/order
