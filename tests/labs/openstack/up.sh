#!/bin/bash
# Brings up Keystone, Glance, Placement, Nova, Cinder and Neutron's API on 127.0.0.1, from a
# bare Debian 12, unattended. Everything lives under $LAB; down.sh ends it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# One private mount namespace for all daemons: their bind mounts
# (over /etc/ceph, /etc/libvirt, /var/lib/libvirt, ...) touch nothing else on the
# machine and vanish with the last daemon.
if [ -z "${LAB_NS:-}" ]; then
    exec env LAB_NS=1 LAB="$LAB" unshare --mount --propagation private "$HERE/up.sh" "$@"
fi
[ -e "$RUN/up" ] && { echo "already up (run down.sh first)"; exit 1; }

T0=$(date +%s%N)
step() { printf '%6.1f s  %s\n' "$(( ($(date +%s%N) - T0) / 100000000 ))e-1" "$*"; }
start() {          # start NAME COMMAND...: a daemon, its pid in $RUN/NAME.pid
    local name=$1; shift
    setsid "$@" >"$LOGS/$name.out" 2>&1 </dev/null &
    echo $! >"$RUN/$name.pid"
}
wait_for() {       # wait_for SECONDS COMMAND...: until it succeeds
    local left=$(( $1 * 5 )); shift
    until "$@" >/dev/null 2>&1; do
        (( left-- > 0 )) || { echo "gave up waiting for: $*" >&2; return 1; }
        sleep 0.2
    done
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# --- packages ---------------------------------------------------------------
PKGS="mariadb-server rabbitmq-server python3-venv ceph-mon ceph-mgr ceph-osd ceph-common python3-rbd python3-rados qemu-utils"
[ "$COMPUTE" = libvirt ] && PKGS="$PKGS libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-block-extra python3-libvirt"
packages() {
    if ! dpkg -s $PKGS >/dev/null 2>&1; then
        local policy=/usr/sbin/policy-rc.d made=
        if [ ! -e $policy ]; then
            printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt-get -o DPkg::Lock::Timeout=300 update -q && apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends $PKGS
        [ -z "$made" ] || rm -f $policy
    fi
}
python_side() {
    [ -e "$VENV/.done" ] && return
    local uv=$LAB/uv; export UV_CACHE_DIR=$LAB/uvcache
    python3 -m pip install -q --target "$uv" uv
    "$uv/bin/uv" venv -q --clear --python /usr/bin/python3 --system-site-packages "$VENV"
    local try
    for try in 1 2 3; do # a mirror that does not answer for a moment is no reason to give up
        "$uv/bin/uv" pip install -q --compile-bytecode --python "$VENV/bin/python" -r "$HERE/requirements.txt" && break
        [ $try = 3 ] && return 1
        sleep 5
    done
    touch "$VENV/.done"
}
mkdir -p "$LOGS" "$RUN" "$ETC"
packages >"$LOGS/apt.log" 2>&1 & APT=$!
python_side >"$LOGS/pip.log" 2>&1 & PIP=$!
wait $APT || { tail "$LOGS/apt.log"; exit 1; }
step "Debian packages"
wait $PIP || { tail "$LOGS/pip.log"; exit 1; }
step "Python packages"

# --- directories, mounts, configuration -------------------------------------
mkdir -p "$RUN/libvirt" "$STATE"/{mysql,rabbit,lock} \
    "$STATE"/keystone/{fernet,credential} "$STATE"/glance/{images,staging,tasks} \
    "$STATE"/nova/instances "$STATE"/cinder/{backup,conversion,coordination} \
    "$STATE"/libvirt/{lib,run,etc,cache}
export PATH=$VENV/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=$STATE LC_ALL=C.UTF-8
unset PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED
. "$HERE/write_config.sh"

# --- MariaDB, RabbitMQ, libvirt ---------------------------------------------
FRESH=
if [ ! -d "$STATE/mysql/mysql" ]; then
    FRESH=1
    mariadb-install-db --no-defaults --datadir="$STATE/mysql" --user=root \
        --auth-root-authentication-method=normal --skip-test-db >"$LOGS/mysql-install.log" 2>&1
fi
start mysql mariadbd --no-defaults --user=root --datadir="$STATE/mysql" \
    --bind-address=127.0.0.1 --port=$P_MYSQL --socket="$RUN/mysql.sock" \
    --skip-name-resolve --max-connections=500 --innodb-buffer-pool-size=128M \
    --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-flush-method=nosync --skip-log-bin \
    --character-set-server=utf8mb4 --pid-file="$RUN/mariadbd.pid"

export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$P_EPMD
start epmd epmd
start rabbit env HOME="$STATE/rabbit" RABBITMQ_NODENAME=openstack@localhost \
    RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$P_RABBIT \
    RABBITMQ_DIST_PORT=$P_DIST RABBITMQ_MNESIA_BASE="$STATE/rabbit" \
    RABBITMQ_LOG_BASE="$LOGS" RABBITMQ_CONFIG_FILE="$STATE/rabbit/none" \
    RABBITMQ_CONF_ENV_FILE=/dev/null \
    RABBITMQ_ENABLED_PLUGINS_FILE="$STATE/rabbit/plugins" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none" \
    /usr/lib/rabbitmq/bin/rabbitmq-server

if [ "$COMPUTE" = libvirt ]; then
    cp "$ETC/libvirt/"*.conf "$STATE/libvirt/etc/"
    mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
    /bin/mount --bind "$STATE/libvirt/etc" /etc/libvirt
    /bin/mount --bind "$STATE/libvirt/lib" /var/lib/libvirt
    /bin/mount --bind "$STATE/libvirt/run" /run/libvirt
    /bin/mount --bind "$STATE/libvirt/cache" /var/cache/libvirt
    /bin/mount --bind "$LOGS" /var/log/libvirt
    start libvirtd libvirtd --config "$STATE/libvirt/etc/libvirtd.conf" --pid-file "$RUN/libvirtd.own.pid"
fi
(
    . "$HERE/ceph.sh"
    if [ "$COMPUTE" = libvirt ]; then
        uri=qemu+unix:///system?socket=$RUN/libvirt/libvirt-sock
        wait_for 30 virsh -c "$uri" version
        echo "<secret ephemeral='no' private='no'><uuid>$SECRET</uuid><usage type='ceph'><name>cinder</name></usage></secret>" >"$STATE/secret.xml"
        virsh -c "$uri" secret-define "$STATE/secret.xml"
        virsh -c "$uri" secret-set-value "$SECRET" --base64 "$(ceph auth get-key client.cinder)"
    fi
) >"$LOGS/ceph-up.log" 2>&1 & CEPH=$!
sql() { mariadb --no-defaults -uroot -S "$RUN/mysql.sock" "$@"; }
wait_for 120 sql -e 'select 1'
step "MariaDB answers"

# --- databases --------------------------------------------------------------
if [ -n "$FRESH" ]; then
    { for d in keystone glance placement nova_api nova nova_cell0 cinder neutron; do
        echo "create database $d;"; done
      echo "create user lab@'127.0.0.1' identified by 'lab'; grant all on *.* to lab@'127.0.0.1';"
    } | sql
    (
        keystone-manage --config-file "$ETC/keystone/keystone.conf" db_sync
        for k in fernet credential; do
            keystone-manage --config-file "$ETC/keystone/keystone.conf" ${k}_setup \
                --keystone-user root --keystone-group root
        done
        keystone-manage --config-file "$ETC/keystone/keystone.conf" bootstrap \
            --bootstrap-username admin --bootstrap-password admin --bootstrap-project-name admin \
            --bootstrap-role-name admin --bootstrap-service-name keystone \
            --bootstrap-region-id RegionOne \
            --bootstrap-public-url "http://127.0.0.1:$P_KEYSTONE/v3" \
            --bootstrap-internal-url "http://127.0.0.1:$P_KEYSTONE/v3"
        glance-manage --config-file "$ETC/glance/glance-api.conf" db_sync
        placement-manage --config-file "$ETC/placement/placement.conf" db sync
    ) >"$LOGS/sync1.log" 2>&1 & S1=$!
    (
        N="nova-manage --config-file $ETC/nova/nova.conf"
        $N api_db sync
        $N cell_v2 map_cell0 --database_connection "$(db nova_cell0)"
        $N db sync
        $N cell_v2 create_cell --name cell1
        cinder-manage --config-file "$ETC/cinder/cinder.conf" db sync
    ) >"$LOGS/sync2.log" 2>&1 & S2=$!
    neutron-db-manage --config-file "$ETC/neutron/neutron.conf" upgrade heads >"$LOGS/sync3.log" 2>&1 & S3=$!
    wait $S1 || { tail "$LOGS/sync1.log"; exit 1; }
    wait $S2 || { tail "$LOGS/sync2.log"; exit 1; }
    wait $S3 || { tail "$LOGS/sync3.log"; exit 1; }
    step "databases made"
fi

# --- the services -----------------------------------------------------------
api() {            # api NAME PORT MODULE [--pyargv ...]
    local name=$1 port=$2 module=$3; shift 3
    start "$name" uwsgi --master --die-on-term --need-app --enable-threads \
        --http-socket "127.0.0.1:$port" --processes 1 --threads 8 --thunder-lock \
        --buffer-size 65535 --lazy-apps --honour-stdin --add-header 'Connection: close' \
        --module "$module:application" "$@"
}
export OS_KEYSTONE_CONFIG_DIR=$ETC/keystone OS_GLANCE_CONFIG_DIR=$ETC/glance
export OS_PLACEMENT_CONFIG_DIR=$ETC/placement OS_NOVA_CONFIG_DIR=$ETC/nova
export OS_NEUTRON_CONFIG_DIR=$ETC/neutron OS_NEUTRON_CONFIG_FILES=neutron.conf
api keystone $P_KEYSTONE keystone.wsgi.api
wait_for 120 listens $P_KEYSTONE
python "$HERE/catalog.py" "http://127.0.0.1:$P_KEYSTONE/v3" \
    glance image "http://127.0.0.1:$P_GLANCE" \
    placement placement "http://127.0.0.1:$P_PLACEMENT" \
    nova compute "http://127.0.0.1:$P_NOVA/v2.1" \
    cinder block-storage "http://127.0.0.1:$P_CINDER/v3" \
    neutron network "http://127.0.0.1:$P_NEUTRON"
step "Keystone answers"
wait_for 120 listens $P_RABBIT
step "RabbitMQ answers"
wait $CEPH || { tail "$LOGS/ceph-up.log"; exit 1; }
step "Ceph answers"
api glance $P_GLANCE glance.wsgi.api --chunked-input-limit 134217728 --chunked-input-timeout 60
api placement $P_PLACEMENT placement.wsgi.api
api neutron $P_NEUTRON neutron.wsgi.api
api nova $P_NOVA nova.wsgi.osapi_compute --pyargv "--log-file $LOGS/nova-api.log"
api cinder $P_CINDER cinder.wsgi.api --pyargv "--config-file $ETC/cinder/cinder.conf --log-file $LOGS/cinder-api.log"
start nova-conductor nova-conductor --config-file "$ETC/nova/nova.conf"
start nova-scheduler nova-scheduler --config-file "$ETC/nova/nova.conf"
start nova-compute nova-compute --config-file "$ETC/nova/nova.conf"
for s in scheduler volume backup; do
    start cinder-$s cinder-$s --config-file "$ETC/cinder/cinder.conf"
done
python "$HERE/ready.py" "http://127.0.0.1:$P_KEYSTONE/v3"
touch "$RUN/up"
step "up"
