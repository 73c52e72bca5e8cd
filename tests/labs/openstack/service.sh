#!/bin/bash
# service.sh stop|kill|start NAME: ends one service of the lab as an accident would, or brings it back.
# What to start again is remembered from the running process when it is stopped.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
verb=$1 name=$2
pid=$(cat "$RUN/$name.pid")

end() {
    cp "/proc/$pid/cmdline" "$RUN/$name.cmdline"
    cp "/proc/$pid/environ" "$RUN/$name.environ"
    kill "-$1" -- "-$pid"
    for _ in $(seq 150); do
        kill -0 -- "-$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$pid"
}

case $verb in
stop) end TERM ;;
kill) end KILL ;;
start)
    mapfile -d '' -t command <"$RUN/$name.cmdline"
    mapfile -d '' -t environment <"$RUN/$name.environ"
    setsid nsenter -t "$(cat "$RUN/mysql.pid")" -m env -i "${environment[@]}" "${command[@]}" \
        >>"$LOGS/$name.out" 2>&1 </dev/null &
    echo $! >"$RUN/$name.pid"
    ;;
*) echo "usage: service.sh stop|kill|start NAME" >&2; exit 2 ;;
esac
