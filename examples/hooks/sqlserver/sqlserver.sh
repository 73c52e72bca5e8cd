#!/bin/sh
# Untried: written after SQL Server's manual (2022: SUSPEND_FOR_SNAPSHOT_BACKUP, DATABASEPROPERTYEX).
# The suspension ends with its session, so a session is held in the background; it ends by itself after two minutes.
set -eu
umask 077
state=/run/quiesce-sqlserver
ask() { sqlcmd -b -h -1 -W -Q "SET NOCOUNT ON; $1"; }  # SQLCMDSERVER, SQLCMDUSER and SQLCMDPASSWORD say where and who
is_suspended() { [ "$(ask "SELECT CAST(DATABASEPROPERTYEX('$DATABASE', 'IsDatabaseSuspendedForSnapshotBackup') AS int)")" = 1 ]; }
end_session() {
  pid=$(cat "$state/session" 2>/dev/null || true)
  [ -z "$pid" ] || [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != sleep ] || kill "$pid"
  rm -f "$state/session"
  while is_suspended; do sleep 0.1; done
}

# the statement, and then nothing for as long as the session is to last
HOLD='printf "ALTER DATABASE [%s] SET SUSPEND_FOR_SNAPSHOT_BACKUP = ON\nGO\n" "$DATABASE"
  echo $$ >"$0/session"
  exec sleep 120'

case "$QUIESCE_OPERATION" in
  freeze)  # a restore finds it offline
    [ "$QUIESCE_WORKFLOW" != restore ] || exit 0
    mkdir -p "$state"
    end_session
    export DATABASE HOLD
    setsid sh -c 'sh -c "$HOLD" "$0" | sqlcmd -b' "$state" >"$state/said" 2>&1 </dev/null &
    until is_suspended; do sleep 0.1; done ;;
  thaw)
    [ "$QUIESCE_WORKFLOW" != restore ] || exit 0
    end_session ;;
  stop)
    ask "ALTER DATABASE [$DATABASE] SET OFFLINE WITH ROLLBACK IMMEDIATE" ;;
  start)
    ask "ALTER DATABASE [$DATABASE] SET ONLINE" ;;
  probe)
    ask "SELECT COUNT(*) FROM [$DATABASE].sys.tables" ;;
esac
