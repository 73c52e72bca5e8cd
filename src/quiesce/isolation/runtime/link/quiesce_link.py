"""The child's end of the line to quiesce: one JSON request per line, one JSON answer per line.

Imports little, because every `ctx` command of a shell script pays for it.
"""

from __future__ import annotations

import json
import os
import socket

ADDRESS = "CTX_SOCKET_URL"
_SCHEME = "unix://"


class LinkError(RuntimeError):
    """quiesce refused a request, or does not answer."""


class QuiesceLink:
    """A connection to quiesce; safe to use after a fork."""

    def __init__(self, address: str) -> None:
        if not address.startswith(_SCHEME):
            raise LinkError(f"no quiesce to talk to: {ADDRESS} is {address!r}")
        self._path = address[len(_SCHEME) :]
        self._owner = -1

    def ask(self, verb: str, **arguments: object) -> object:
        """Send one request and return what is answered."""
        if self._owner != os.getpid():
            self._connect()
        self._stream.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
        self._stream.flush()
        line = self._stream.readline()
        if not line:
            raise LinkError("quiesce does not answer any more")
        answer = json.loads(line)
        if "error" in answer:
            raise LinkError(answer["error"])
        return answer.get("value")

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self._path)
        self._stream = connection.makefile("rwb")
        self._owner = os.getpid()


def connect() -> QuiesceLink:
    """Return the connection that the environment names."""
    return QuiesceLink(os.environ.get(ADDRESS, ""))
