"""The guard process: ``python -m quiesce.cli.guard``, started by `quiesce.guard`.

Its home and its database are in the environment, which no other user can read.
It reads orders from its standard input, one a line; the end of the input means that the engine is dead.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Final

from quiesce.app.run.guard import GuardLoop, Order
from quiesce.bootstrap import Application, Settings
from quiesce.cli.session import without_secrets
from quiesce.guard import READY
from quiesce.model.ids import ExecutionId

_ORDERS: Final = {b"opened": Order.OPENED, b"settled": Order.SETTLED, b"owing": Order.OWING}


class PipeOrders:
    """Answers `Orders` from a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._selector = selectors.DefaultSelector()
        self._selector.register(descriptor, selectors.EVENT_READ)
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._closed = False

    def next(self, until_tick: float | None) -> Order | None:
        """Return the next order; None when *until_tick* passes first."""
        line = self.line(until_tick)
        if line is None:
            return None
        return Order.GONE if line == b"" else _ORDERS[line]

    def line(self, until_tick: float | None) -> bytes | None:
        """Return the next line; empty when the other end is gone, None when *until_tick* passes first."""
        while not self._lines:
            if self._closed:
                return b""
            timeout = None if until_tick is None else max(0.0, until_tick - time.monotonic())
            if not self._selector.select(timeout):
                return None
            self._read()
        return self._lines.popleft()

    def _read(self) -> None:
        read = os.read(self._descriptor, 4096)
        self._closed = not read
        *lines, self._rest = (self._rest + read).split(b"\n")
        self._lines.extend(lines)


def main() -> None:
    """Be the guard of one execution."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # it ends when nothing is owed, and not before; what it starts would inherit SIG_IGN, but no handler
        signal.signal(number, lambda *_: None)
    os.umask(0o077)
    orders = PipeOrders(sys.stdin.fileno())
    application = Application(Settings.of(os.environ))
    try:
        execution = _words(orders, b"execution")
        if execution is None:
            return
        loop = GuardLoop(application.services, ExecutionId(execution), time.sleep)
        bound = _words(orders, b"max-freeze")
        if bound is None:
            return
        with suppress(OSError):
            os.write(sys.stdout.fileno(), READY)
        with without_secrets(application.services.masking):  # its errors go to a file
            loop.run(orders, float(bound))
    finally:
        application.close()


def _words(orders: PipeOrders, key: bytes) -> str | None:
    """Return what the line that begins with *key* says; None when the engine needs no guard any more."""
    line = orders.line(None)
    if line is None or not line.startswith(key + b" "):
        return None
    return line[len(key) + 1 :].decode()


if __name__ == "__main__":
    main()
