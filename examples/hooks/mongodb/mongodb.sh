#!/bin/sh
# Untried: written after MongoDB's manual (fsync, fsyncUnlock, currentOp). Its data lie in one or several directories.
set -eu
ask() { mongosh --quiet --nodb --eval 'const db = connect(process.env.MONGODB_URI);' --eval "$1"; }

case "$QUIESCE_OPERATION" in
  freeze)  # the server counts its locks: one is taken, however often this runs; a restore finds it stopped
    [ "$QUIESCE_WORKFLOW" = restore ] ||
      ask 'if (!db.currentOp().fsyncLock && db.fsyncLock().ok !== 1) quit(1)' ;;
  thaw)    # the lock outlives its client, so it is given back until nothing is left of it
    [ "$QUIESCE_WORKFLOW" = restore ] ||
      ask 'while (db.currentOp().fsyncLock) { if (db.fsyncUnlock().ok !== 1) quit(1) }' ;;
  stop)
    systemctl stop mongod ;;
  start)
    systemctl start mongod ;;
  probe)
    ask 'if (db.adminCommand({ping: 1}).ok !== 1) quit(1)' ;;
esac
