"""Stands between mariadb-backup and its server, and keeps back the statement that begins a copy's end.

mariadb-backup copies everything in its first stage, which holds up nobody, however long it lasts; meanwhile
it keeps reading InnoDB's log. Then it blocks commits for an instant, which is the point in time of its copy.
It cannot be told when, but it asks the server for each stage: what asks for the second one is passed on when
the copy may end.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from quiesce.files.durable import make_private_directory

_NAME: Final = "relay"
_WAITING: Final = 16
_CHUNK_BYTES: Final = 1 << 16
#: of a packet: its length (three bytes) and number
_HEADER_BYTES: Final = 4
_LENGTH_BYTES: Final = 3
#: a packet that holds a statement begins so
_STAGE: Final = b"\x03BACKUP STAGE "
_FIRST: Final = _STAGE + b"START"


class Relay:
    """A socket at which mariadb-backup finds its server, through us."""

    def __init__(self, directory: Path, connect: Callable[[], socket.socket]) -> None:
        """The socket lies in *directory*, which is private; *connect* reaches the server."""
        self._connect = connect
        self._path = directory / _NAME
        self._reached, self._let_through, self._closed = threading.Event(), threading.Event(), False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        make_private_directory(directory)
        self._path.unlink(missing_ok=True)
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(f"/proc/self/fd/{self._directory}/{_NAME}")
            self._listener.listen(_WAITING)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def path(self) -> Path:
        """Where anybody finds it who can go there."""
        return self._path

    @property
    def keeps_back(self) -> bool:
        """Whether the copy is made but for its end, which waits."""
        return self._reached.is_set()

    def let_through(self) -> None:
        """Pass on what was kept back."""
        self._let_through.set()

    def close(self) -> None:
        """End all connections; what was kept back is never said."""
        with self._lock:
            self._closed = True
            ending, self._sockets = [self._listener, *self._sockets], []
        self._let_through.set()
        for each in ending:
            _end(each)
        self._path.unlink(missing_ok=True)
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = self._connect()
                except OSError:
                    client.close()
                    continue
                self._relay(client, server)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        server.settimeout(None)
        with self._lock:
            if self._closed:
                client.close()
                server.close()
                return
            self._sockets += [client, server]
        for pass_on in (self._pass_statements, self._pass_answers):
            threading.Thread(target=pass_on, args=(client, server), daemon=True).start()

    def _pass_statements(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while header := _read(client, _HEADER_BYTES):
                body = _read(client, int.from_bytes(header[:_LENGTH_BYTES], "little"))
                if body.startswith(_STAGE) and body != _FIRST:
                    self._reached.set()
                    self._let_through.wait()
                    if self._closed:
                        break
                server.sendall(header + body)
        _end(server)

    def _pass_answers(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK_BYTES):
                client.sendall(data)
        _end(client)


def _read(source: socket.socket, size: int) -> bytes:
    """Return so many bytes; fewer at the end."""
    found = bytearray()
    while len(found) < size and (data := source.recv(size - len(found))):
        found += data
    return bytes(found)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
