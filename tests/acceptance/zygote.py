"""Runs commands in children of one process that has imported quiesce already.

Importing it costs most of what a short command costs, and the acceptance tests run thousands. A child has a
process, an environment, a directory and streams of its own, and ends as the command does; only its command
line in ``/proc`` is this one's.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import quiesce.cli.commands
from quiesce.cli.main import main

_REQUEST_BYTES = 1 << 20
_IMPORTED = ("quiesce.bootstrap", "quiesce.blueprint", "quiesce.providers.host.provider")


class Zygote:
    """The process, seen from a test. One command at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, patience_s: float
    ) -> tuple[int, str, str]:
        """Run one command; return its exit status (negative: the killing signal) and what it printed."""
        out, err = _Stream(), _Stream()
        request = {"arguments": [*arguments], "environment": {**environment}, "directory": str(directory)}
        socket.send_fds(self._socket, [json.dumps(request).encode()], [out.writing, err.writing])
        out.begin()
        err.begin()
        pid = json.loads(self._socket.recv(_REQUEST_BYTES))
        self._socket.settimeout(patience_s)
        try:
            status = json.loads(self._socket.recv(_REQUEST_BYTES))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            status = json.loads(self._socket.recv(_REQUEST_BYTES))
        self._socket.settimeout(None)
        return status, out.text(), err.text()

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()


class _Stream:
    """What a child prints: into a file, so that whoever it leaves behind may keep it open."""

    def __init__(self) -> None:
        self.writing = os.memfd_create("printed")
        self._reading = os.dup(self.writing)

    def begin(self) -> None:
        os.close(self.writing)

    def text(self) -> str:
        size = os.fstat(self._reading).st_size
        text = os.pread(self._reading, size, 0).decode()
        os.close(self._reading)
        return text


def serve(requests: socket.socket) -> None:
    """Fork a child for each request; return in the child, and nowhere else."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 2)
        if not data:
            os._exit(0)
        child = os.fork()
        if child == 0:
            requests.close()
            _become(json.loads(data), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(json.dumps(child).encode())
        _, ended = os.waitpid(child, 0)
        requests.send(json.dumps(os.waitstatus_to_exitcode(ended)).encode())


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    for stream, descriptor in zip((1, 2), descriptors, strict=True):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.argv[1:] = request["arguments"]


if __name__ == "__main__":
    for name in (
        *_IMPORTED,
        *(f"quiesce.cli.commands.{m.name}" for m in pkgutil.iter_modules(quiesce.cli.commands.__path__)),
    ):
        importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
    main()
