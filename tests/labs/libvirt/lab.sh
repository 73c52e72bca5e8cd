#!/bin/bash
# A private libvirtd with small guests, for tests and benchmarks.
#   lab.sh up       install what is missing (as root), start the daemon, build the guest; prints the connection URI
#   lab.sh down     destroy the lab's guests, stop the daemon
#   lab.sh restart  start the daemon again after it died; its guests live on
#   lab.sh purge    down, and remove everything the lab made
#   lab.sh disk FILE.qcow2 SIZE_MB [RANDOM_MB] [SEED]   an ext4 data disk, bit for bit reproducible
# Its folder is $QUIESCE_LAB_DIR, else .lab in the repository's root. Everything may run twice.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -m "${QUIESCE_LAB_DIR:-$here/../../../.lab}")
lab=$root/libvirt
socket=$lab/r/libvirt/libvirt-sock
uri="qemu+unix:///session?socket=$socket"
packages="libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils busybox-static cpio gcc libc6-dev e2fsprogs openssl"

require_short_paths() {
  if [ ${#socket} -gt 90 ]; then
    echo "lab.sh: $socket is too long for a socket; set QUIESCE_LAB_DIR to a shorter folder" >&2
    exit 1
  fi
}

install_packages() {
  local missing=""
  for package in $packages; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "lab.sh: install these first:$missing" >&2
    exit 1
  fi
  apt-get -qq -o DPkg::Lock::Timeout=300 update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=600 install $missing >/dev/null
}

daemon_runs() {
  local status
  status=/proc/$(cat "$lab/libvirtd.pid" 2>/dev/null || echo none)/status
  grep -q '^Name:.*libvirtd' "$status" 2>/dev/null && ! grep -q '^State:.*Z' "$status"
}

answers() {
  timeout 10 virsh -q -c "$uri" version >/dev/null 2>&1
}

start_daemon() {
  mkdir -p "$lab"/{r,cfg/libvirt,cache,data,disks,console,agent}
  chmod 700 "$root" "$lab/r"
  echo 'stdio_handler = "file"' >"$lab/cfg/libvirt/qemu.conf"
  echo "log_outputs = \"3:file:$lab/libvirtd.log\"" >"$lab/cfg/libvirt/libvirtd.conf"
  if ! daemon_runs; then
    rm -f "$lab/libvirtd.pid"
    # root becomes an ordinary user in a name space of one user: the daemon is private, files stay root's
    local as_user=()
    [ "$(id -u)" = 0 ] && as_user=(unshare --user --map-user=1000 --map-group=1000)
    "${as_user[@]}" env -i PATH="$PATH:/usr/sbin:/sbin" HOME="$lab" XDG_RUNTIME_DIR="$lab/r" XDG_CONFIG_HOME="$lab/cfg" \
      XDG_CACHE_HOME="$lab/cache" XDG_DATA_HOME="$lab/data" \
      libvirtd --daemon --config "$lab/cfg/libvirt/libvirtd.conf" --pid-file "$lab/libvirtd.pid" >&2
  fi
  for _ in $(seq 300); do
    answers && break
    sleep 0.05
  done
  answers || { tail "$lab/libvirtd.log" >&2; exit 1; }
  echo "$uri" >"$lab/uri"
}

build_guest() {
  local made_of="$here/guest/init $here/guest/shutdown $here/guest/writer.c $here/build_guest.sh"
  local stamp
  stamp=$(cat $made_of | sha256sum)
  if [ "$(cat "$lab/guest/stamp" 2>/dev/null)" != "$stamp" ]; then
    "$here/build_guest.sh" "$lab/guest" "$lab/packages" >&2
    echo "$stamp" >"$lab/guest/stamp"
  fi
  [ -e "$lab/disks/base64.qcow2" ] || "$here/build_guest.sh" disk "$lab/disks/base64.qcow2" 64 >&2
}

down() {
  [ -e "$lab/uri" ] || return 0
  if daemon_runs; then
    for domain in $(timeout 10 virsh -q -c "$uri" list --name 2>/dev/null); do
      timeout 20 virsh -q -c "$uri" destroy "$domain" >&2 || true
    done
    local pid
    pid=$(cat "$lab/libvirtd.pid")
    kill "$pid" || true
    for _ in $(seq 100); do
      daemon_runs || break
      sleep 0.05
    done
  fi
  rm -f "$lab/libvirtd.pid" "$lab/uri"
}

case ${1:-} in
  up) require_short_paths; install_packages; start_daemon; build_guest; echo "$uri" ;;
  restart) start_daemon; echo "$uri" ;;
  down) down ;;
  purge) down; rm -rf "$lab" ;;
  disk) shift; exec "$here/build_guest.sh" disk "$@" ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
