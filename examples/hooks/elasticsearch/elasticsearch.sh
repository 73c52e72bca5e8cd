#!/bin/sh
# Untried: written after Elasticsearch's manual (snapshot, restore and delete snapshot APIs).
# Copies of a running server's files are not restorable: it saves itself, into a snapshot repository of its own.
set -eu
name=$(printf %s "$QUIESCE_POINT" | tr '[:upper:]' '[:lower:]')
here=$ELASTICSEARCH_URL/_snapshot/$ELASTICSEARCH_REPOSITORY/$name
# the password reaches curl on its standard input, where no other user can read it
ask() { printf 'user = "%s"\n' "$ELASTICSEARCH_LOGIN" | curl --silent --show-error --fail-with-body --config - \
    --header 'Content-Type: application/json' "$@"; }
exists() { ask "$here" >/dev/null 2>&1; }

case "$QUIESCE_OPERATION" in
  snapshot)  # the state of each shard at some instant between its begin and its end
    ! exists || ask --request DELETE "$here"  # what an earlier try has begun
    ask --request PUT "$here?wait_for_completion=true" --data "{\"indices\": \"$ELASTICSEARCH_INDICES\"}" |
      grep -q '"state" *: *"SUCCESS"' ;;
  apply)     # open indices are not replaced
    ask --request POST "$ELASTICSEARCH_URL/$ELASTICSEARCH_INDICES/_close"
    ask --request POST "$here/_restore?wait_for_completion=true" --data "{\"indices\": \"$ELASTICSEARCH_INDICES\"}" |
      grep -q '"failed" *: *0' ;;
  delete)
    ! exists || ask --request DELETE "$here" ;;
  verify)
    ask "$here" | grep -q '"state" *: *"SUCCESS"' ;;
esac
