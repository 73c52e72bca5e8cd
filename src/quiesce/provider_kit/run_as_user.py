"""Becomes a program of another user, who finds an open directory of theirs at a path that they can go.

The directory lies where that user may not pass: in a repository of ours, say. It is mounted at the path for
this process alone, and for what it starts. Called with a request (JSON) and the program's own words.
"""

from __future__ import annotations

import json
import os
import sys

from quiesce.files.system_calls import mount_privately
from quiesce.provider_kit.server_places import drop_rights


def main() -> None:
    """Mount, become the user, and run the program."""
    request = json.loads(sys.argv[1])
    words = sys.argv[2:]
    try:
        mount_privately(request["directory"], os.fsencode(request["at"]))
        drop_rights(request)
        os.execve(words[0], words, request["environment"])  # noqa: S606  of our own making
    except OSError as error:
        print(f"{words[0]} cannot be run as user {request['user']}: {error.strerror}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
