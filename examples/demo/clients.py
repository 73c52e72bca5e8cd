"""Clients that place orders all the time, and keep a ledger of what the shop has acknowledged."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from typing import Self

PAUSE_S = 0.02
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Write:
    """One order, seen from the client's side. Times are seconds since the epoch."""

    token: str
    began: float
    acknowledged: float
    order: int


class Clients:
    """Four customers, each placing one order after the other."""

    def __init__(self, port: int, name: str, count: int = 4) -> None:
        self.ledger: list[Write] = []
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._order, args=(f"{name}-{n}",)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Return when *more* orders were acknowledged than now."""
        goal, ends = len(self.ledger) + more, time.monotonic() + PATIENCE_S
        while len(self.ledger) < goal:
            if time.monotonic() > ends:
                raise RuntimeError("the shop takes no orders")
            time.sleep(0.01)

    def _order(self, name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        number = 0
        while not self._stopping.is_set():
            number += 1
            try:
                self._place(connection, f"{name}-{number}")
            except (OSError, http.client.HTTPException):
                connection.close()
            time.sleep(PAUSE_S)
        connection.close()

    def _place(self, connection: http.client.HTTPConnection, token: str) -> None:
        began = time.time()
        connection.request("POST", "/orders", body=token)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status == 200:
            write = Write(token=token, began=began, acknowledged=time.time(), order=body)
            self.ledger.append(write)
