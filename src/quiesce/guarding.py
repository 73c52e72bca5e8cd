"""What every guard process does, whatever performs the thaw: it hears orders, and serves them.

It reads orders from a pipe, one a line; the end of the input means that the engine is dead.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections import deque
from contextlib import suppress
from typing import Final

from quiesce.app.run.guard import GuardLoop, Order
from quiesce.app.services import Services
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
        line = self._line(until_tick)
        if line is None:
            return None
        return Order.GONE if line == b"" else _ORDERS[line]

    def words(self, key: bytes) -> str | None:
        """Return what the line that begins with *key* says; None when nobody needs a guard any more."""
        line = self._line(None)
        if line is None or not line.startswith(key + b" "):
            return None
        return line[len(key) + 1 :].decode()

    def _line(self, until_tick: float | None) -> bytes | None:
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


def become_guard() -> None:
    """Let no signal end this process, and nobody else read what it writes."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # it ends when nothing is owed, and not before; what it starts would inherit SIG_IGN, but no handler
        signal.signal(number, lambda *_: None)
    os.umask(0o077)


def serve(orders: PipeOrders, services: Services, answers: int) -> None:
    """Be the guard of the execution that *orders* names; *answers* is where it says that it is ready."""
    execution = orders.words(b"execution")
    if execution is None:
        return
    loop = GuardLoop(services, ExecutionId(execution), time.sleep)
    bound = orders.words(b"max-freeze")
    if bound is None:
        return
    with suppress(OSError):
        os.write(answers, READY)
    loop.run(orders, float(bound))
