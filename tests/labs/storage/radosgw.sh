#!/usr/bin/env bash
# usage: radosgw.sh DIRECTORY PORT MONITOR_PORT
# A Ceph of one monitor and one OSD that keeps everything in memory, and its S3 gateway, on the loopback.
# Stays until it is ended; then all of it ends. Debian's packages: radosgw, ceph-mon, ceph-osd, ceph-common.
set -eu
dir=$1 port=$2 mon=$3
export CEPH_CONF=$dir/ceph.conf CEPH_ARGS="--no-mon-config" CEPH_KEYRING=$dir/keyring
mkdir -p "$dir"/{mon,osd,run,log,rgw}
cat >"$CEPH_CONF" <<END
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon_host = [v2:127.0.0.1:$mon,v1:127.0.0.1:$((mon + 1))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
keyring = $dir/keyring
run_dir = $dir/run
admin_socket = $dir/run/\$name.asok
log_file = $dir/log/\$name.log
auth_allow_insecure_global_id_reclaim = false
mon_allow_pool_size_one = true
mon_data_avail_warn = 2
mon_data_avail_crit = 1
mon_max_pg_per_osd = 1000
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = $((4 << 30))
osd_data = $dir/osd
mon_data = $dir/mon
rgw_data = $dir/rgw
rgw_frontends = beast endpoint=127.0.0.1:$port
rgw_thread_pool_size = 64
rgw_gc_processor_period = 60
END
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; wait' EXIT
trap 'exit 143' INT TERM
start() { "$@" >>"$dir/log/out" 2>&1 </dev/null & pids+=($!); }
wait_for() { # wait_for SECONDS COMMAND...
    local left=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        ((left-- > 0)) || { echo "gave up waiting for: $*" >&2; tail -20 "$dir/log/out" >&2; exit 75; }
        sleep 0.2
    done
}

ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
for name in client.admin client.rgw osd.0; do
    ceph-authtool "$dir/keyring" --gen-key -n $name --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
done
monmaptool --create --clobber --fsid "$(sed -n 's/^fsid = //p' "$CEPH_CONF")" \
    --addv a "[v2:127.0.0.1:$mon,v1:127.0.0.1:$((mon + 1))]" "$dir/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring" >/dev/null
start ceph-mon -i a -f
unset CEPH_ARGS
wait_for 60 ceph --connect-timeout 2 mon stat
ceph-osd -i 0 --mkfs --osd-uuid "$(cat /proc/sys/kernel/random/uuid)" >>"$dir/log/out" 2>&1
ceph osd new "$(cat "$dir/osd/fsid")" 0 >/dev/null
start ceph-osd -i 0 -f
osd_is_up() { ceph osd stat | grep -q '1 up'; }
wait_for 60 osd_is_up
radosgw-admin user create --uid quiesce --display-name quiesce --access-key quiesce \
    --secret quiesce-secret >>"$dir/log/out" 2>&1
# the gateway may be killed, and begins again: everything is in the OSD
while true; do
    radosgw -n client.rgw -f >>"$dir/log/out" 2>&1 </dev/null &
    gateway=$!
    echo $gateway >"$dir/gateway.pid"
    pids+=($gateway)
    wait $gateway || true
    sleep 0.2
done
