"""Serves one child: its requests, its output, its end, and the end of its time."""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

from quiesce.errors import OperationTimeoutError
from quiesce.isolation.answers import ContextAnswers
from quiesce.isolation.child import Child
from quiesce.model.records import Level
from quiesce.ports import Context

#: how often it is checked whether the result is still needed, in seconds
_BEAT_S = 0.1
_CHUNK_BYTES = 65536
_REQUEST_BYTES = 16 * 1024 * 1024
_LINE_CHARS = 8192
#: what fits into a socket's address
_PATH_BYTES = 107
#: how long a child may take to read an answer, in seconds
_ANSWER_S = 5.0
#: how often we look for more output after the end
_LAST_TURNS = 256
_OUTPUT = "<out> "
_ERRORS = "<err> "


class Session:
    """One thread's loop around one child; there is no other thread."""

    def __init__(self, answers: ContextAnswers, context: Context, *, directory: str) -> None:
        self._answers = answers
        self._context = context
        self._said = answers.said
        self._selector = selectors.DefaultSelector()
        self._lines: list[_Lines] = []
        self._path = str(Path(directory) / "ctx")
        if len(os.fsencode(self._path)) > _PATH_BYTES:
            raise OSError(f"{directory} is too long for a socket's path; set TMPDIR to a shorter one")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(self._path)
        self._listener.listen(64)
        self._on(self._listener, self._accept)

    @property
    def address(self) -> str:
        """Where the child finds us."""
        return f"unix://{self._path}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def serve(self, child: Child, name: str) -> int:
        """Serve *child* until it ends and return its exit status.

        What the child left running may live on, but is not listened to any more.

        Raises:
            OperationTimeoutError: when its time is over, or its result is no longer needed.
        """
        try:
            return self._serve(child, name)
        finally:
            self._said.end()

    def _serve(self, child: Child, name: str) -> int:
        self._read(child.stdout, _OUTPUT)
        self._read(child.stderr, _ERRORS)
        self._on(child.ending, _nothing)
        while not child.has_ended():
            self._check_time(name)
            self._turn(min(_BEAT_S, self._context.remaining_s()))
        self._selector.unregister(child.ending)
        for _ in range(_LAST_TURNS):
            if not self._turn(0.0):
                break
        for lines in self._lines:
            lines.feed(b"", last=True)
        return child.status()

    def _check_time(self, name: str) -> None:
        if self._context.given_up():
            raise OperationTimeoutError(f"{name} was stopped: its result is no longer needed")
        if self._context.remaining_s() <= 0:
            raise OperationTimeoutError(f"{name} did not finish in time and was killed")

    def _turn(self, wait_s: float) -> bool:
        events = self._selector.select(wait_s)
        for key, _ in events:
            key.data()
        return bool(events)

    def _on(self, source: socket.socket | IO[bytes] | int, action: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, action)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(_ANSWER_S)
        request = bytearray()
        self._on(connection, lambda: self._receive(connection, request))

    def _receive(self, connection: socket.socket, request: bytearray) -> None:
        with contextlib.suppress(OSError):
            received = connection.recv(_CHUNK_BYTES)
            request += received
            *lines, rest = bytes(request).split(b"\n")
            request[:] = rest
            for line in lines:
                connection.sendall(self._answers.answer(line))
            if received and len(request) <= _REQUEST_BYTES:
                return
        self._selector.unregister(connection)
        connection.close()

    def _read(self, stream: IO[bytes] | None, prefix: str) -> None:
        if stream is not None:
            os.set_blocking(stream.fileno(), False)
            lines = _Lines(lambda line: self._log(prefix, line))
            self._lines.append(lines)
            self._on(stream, lambda: self._consume(stream, lines))

    def _consume(self, stream: IO[bytes], lines: _Lines) -> None:
        chunk = stream.read(_CHUNK_BYTES)
        lines.feed(chunk or b"", last=chunk == b"")
        if chunk == b"":
            self._selector.unregister(stream)

    def _log(self, prefix: str, line: str) -> None:
        self._said.add(Level.INFO, prefix + line)
        if prefix == _ERRORS:
            self._answers.result.tail.append(line)


class _Lines:
    """Cuts a stream of bytes into lines of bounded length."""

    def __init__(self, use: Callable[[str], None]) -> None:
        self._use = use
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, chunk: bytes, *, last: bool) -> None:
        """Use every line that is complete now, and at the *last* chunk what is left."""
        *lines, self._rest = (self._rest + self._decoder.decode(chunk, last)).split("\n")
        while len(self._rest) > _LINE_CHARS or (last and self._rest):
            lines.append(self._rest[:_LINE_CHARS])
            self._rest = self._rest[_LINE_CHARS:]
        for line in lines:
            if line.strip():
                self._use(line.rstrip("\r"))


def _nothing() -> None:
    """Do nothing: the wake-up itself is the effect."""
