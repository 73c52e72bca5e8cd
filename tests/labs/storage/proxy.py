"""A proxy between a storage and its server that does to connections what networks do."""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

_BUSY: Final = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 63\r\n"
    b"Connection: close\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>Slow down</Message></Error>"
)
_REQUEST: Final = re.compile(rb"(GET|PUT|POST|HEAD|DELETE) ")
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Fault(enum.Enum):
    """What happens to a connection."""

    NONE = "none"
    #: it is closed as it is made
    REFUSE = "refuse"
    #: it is cut while we send
    CUT_UP = "cut-up"
    #: it is cut while we receive
    CUT_DOWN = "cut-down"
    #: the server did what was asked, and its answer never came
    LOSE_ANSWER = "lose-answer"
    #: the server answers 503 (HTTP only)
    BUSY = "busy"
    #: nothing arrives any more, and nobody says so
    SILENCE = "silence"


class Proxy:
    """Forwards to a port of this machine; `fail` says what happens to how many connections from now on."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._lock = threading.Lock()
        self._fault = Fault.NONE
        self._left = 0
        self._after_bytes = 0
        self.happened = 0
        #: bytes per second in each direction; None: as fast as it goes
        self.rate: float | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def fail(self, fault: Fault, *, times: int = 1, after_bytes: int = 0) -> None:
        """Let *fault* happen to as many connections, each once it has carried *after_bytes* from now on."""
        with self._lock:
            self._fault, self._left, self._after_bytes, self.happened = fault, times, after_bytes, 0

    def close(self) -> None:
        self._cut(self._listener, *list(self._open))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._strikes(Fault.REFUSE, 0):
                    client.close()
                    continue
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._to_port), timeout=30)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._open |= {client, server}
        up = threading.Thread(target=self._pump, args=(client, server, Fault.CUT_UP), daemon=True)
        up.start()
        self._pump(server, client, Fault.CUT_DOWN)
        up.join()
        self._cut(client, server)

    def _pump(self, source: socket.socket, target: socket.socket, cut: Fault) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                carried += len(data)
                if not self._goes_through(source, target, data, cut, carried):
                    break
                if self.rate:
                    time.sleep(len(data) / self.rate)
        self._cut(source, target)

    def _goes_through(
        self, source: socket.socket, target: socket.socket, data: bytes, cut: Fault, carried: int
    ) -> bool:
        """Forward *data*, unless a fault strikes; False when this is the end of the connection."""
        if self._fault is Fault.SILENCE and self._strikes(Fault.SILENCE, carried):
            time.sleep(3600)
        if self._strikes(cut, carried):
            target.sendall(data[: len(data) // 2])
            return False
        if cut is Fault.CUT_DOWN and self._strikes(Fault.LOSE_ANSWER, carried):
            return False
        if cut is Fault.CUT_UP and _REQUEST.match(data) and self._strikes(Fault.BUSY, carried):
            self._answer_busy(source, data)
            return False
        target.sendall(data)
        return True

    def _answer_busy(self, client: socket.socket, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        left = (int(length[1]) if length else 0) - len(body)
        while left > 0 and (more := client.recv(65536)):
            left -= len(more)
        client.sendall(_BUSY)

    def _strikes(self, fault: Fault, carried: int) -> bool:
        with self._lock:
            early = carried <= self._after_bytes and fault is not Fault.REFUSE
            if self._fault is not fault or self._left == 0 or early:
                return False
            self._left -= 1
            self.happened += 1
            return True

    def _cut(self, *sockets: socket.socket) -> None:
        for each in sockets:
            self._open.discard(each)
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """Give a proxy to *port* until the block ends."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
