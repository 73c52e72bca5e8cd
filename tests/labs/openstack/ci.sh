#!/bin/bash
# ci.sh [COMMAND...]: brings the lab up from nothing, runs a command on it, and takes everything down again.
#
# Without a command it runs the tests marked "brief". Ends with the command's status, or with 75 (the sysexits for
# "not now") and the reason when the lab itself does not come up: that says nothing of quiesce. LAB is where it lives.
# Times are bounds, in seconds: UP_S for the lab to come up, LIMIT_S for that and the command together; taking it
# down comes after that.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
ROOT=$HERE/../../..
[ $# -gt 0 ] || set -- "$ROOT/.venv/bin/pytest" -q -rP --durations=12 -m brief "$ROOT"/tests/integration/test_openstack_*.py
UP_S=${UP_S:-420} LIMIT_S=${LIMIT_S:-800}

say() { printf '=== %s, %d s\n' "$*" $SECONDS; }
down() {
    trap - EXIT
    trap '' INT TERM HUP
    if timeout --kill-after=5 60 "$HERE/down.sh" --wipe; then
        say "the OpenStack lab is down"
    else
        echo "the OpenStack lab could not be taken down completely" >&2
    fi
}
not_up() {
    echo "the OpenStack lab cannot come up: $1" >&2
    exit 75
}
why_not() { # the ends of those logs that say something of errors
    local log
    for log in "$LOGS"/*.log "$LOGS"/*.out; do
        grep -qiE 'error|traceback|fatal|cannot|failed' "$log" 2>/dev/null || continue
        printf -- '--- %s\n' "$(basename "$log")"
        grep -iE 'error|traceback|fatal|cannot|failed' "$log" | tail -n 3 | cut -c1-300
    done >&2
}

[ "$(id -u)" = 0 ] || not_up "it needs root"
command -v apt-get >/dev/null || not_up "it needs Debian's packages"
unshare --mount --propagation private true 2>/dev/null || not_up "this machine allows no mount namespace"
for port in $P_MYSQL $P_RABBIT $P_KEYSTONE $P_GLANCE $P_PLACEMENT $P_NOVA $P_CINDER $P_NEUTRON $P_MON1 $P_MON2; do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && not_up "something listens on its port $port"
done
child=
bounded() { # bounded SECONDS COMMAND...: in the background, because a trap waits for what is in front
    # INT lets pytest say what it has found so far; what runs in the background would ignore it
    env --default-signal=INT timeout --signal=INT --kill-after=20 "$@" &
    child=$!
    wait $child
}
trap down EXIT
trap '[ -z "$child" ] || kill -TERM $child 2>/dev/null; exit 143' INT TERM HUP

mkdir -p "$LAB"
if ! bounded "$UP_S" "$HERE/up.sh"; then
    why_not
    not_up "up.sh gave up within $UP_S s; the logs above say why"
fi
[ -e "$LAB/guest.raw" ] || bounded 120 bash "$HERE/guest.sh" "$LAB/guest.raw" >/dev/null || not_up "no guest image"
say "the OpenStack lab is up"
export QUIESCE_OPENSTACK_LAB=$LAB
bounded $((LIMIT_S - SECONDS)) "$@"
status=$?
[ $status != 124 ] || echo "ended after $LIMIT_S s: this machine is too slow, or too busy, for all of it" >&2
exit $status
