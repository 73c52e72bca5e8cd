#!/usr/bin/env bash
# Run a command with QUIESCE_TEST_DATABASE naming an empty PostgreSQL server on loopback: run.sh COMMAND...
# QUIESCE_TEST_POSTGRESQL_RESTART names a script that restarts it as after a crash.
# Needs Debian's package postgresql; as root the server runs as the user postgres. Nothing stays behind.
set -eu
PORT=${QUIESCE_POSTGRESQL_PORT:-25432}
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
[ -n "$bin" ] || { echo "PostgreSQL is missing: apt-get install postgresql" >&2; exit 1; }
place=$(mktemp -d)
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    as() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
    chown postgres "$place"
fi
stop() {
    as "$bin/pg_ctl" -D "$place/data" -m immediate -s stop || true
    rm -rf "$place"
}
trap stop EXIT
as "$bin/initdb" -D "$place/data" -A trust -U quiesce >"$place/initdb.log"
as "$bin/pg_ctl" -D "$place/data" -s -w -l "$place/server.log" \
    -o "-p $PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories=$place" start
cat >"$place/restart" <<END
#!/bin/sh
exec $([ "$(id -u)" != 0 ] || echo setpriv --reuid postgres --regid postgres --clear-groups) \\
    "$bin/pg_ctl" -D "$place/data" -s -w -m immediate -l "$place/server.log" restart
END
chmod 755 "$place/restart"
QUIESCE_TEST_POSTGRESQL_RESTART="$place/restart" QUIESCE_TEST_DATABASE="postgresql+psycopg://quiesce@127.0.0.1:$PORT/postgres" "$@"
