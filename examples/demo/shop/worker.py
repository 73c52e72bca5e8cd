"""The shop's back: writes a receipt file for each order, then enters its checksum into the database.

Between the file and the entry the two disagree. Asked to pause, it does so only where they agree.
"""

import hashlib
import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import database

ROOT = Path(sys.argv[1])
CONTROL = ROOT / "run" / "worker.sock"
WITHOUT_RECEIPT = "SELECT id, token FROM orders WHERE receipt IS NULL LIMIT 50"


class Pause:
    """Whether the worker may write. Once `begin` has returned, nothing is written until the pause is over."""

    def __init__(self) -> None:
        self._until = 0.0
        self._at_work = threading.Lock()

    def begin(self, seconds: float) -> None:
        with self._at_work:
            self._until = time.monotonic() + seconds

    def end(self) -> None:
        self._until = 0.0

    def do(self, work: Callable[[], None]) -> None:
        """Do *work* as soon as there is no pause, and be at work meanwhile."""
        while True:
            with self._at_work:
                if time.monotonic() >= self._until:
                    return work()
            time.sleep(0.001)


def main() -> None:
    database.create(ROOT)
    CONTROL.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(CONTROL))
    listener.listen()
    pause = Pause()
    threading.Thread(target=obey, args=(listener, pause), daemon=True).start()
    (ROOT / "run" / "worker.pid").write_text(str(os.getpid()))
    shop = database.connect(ROOT)
    while True:
        for order, token in shop.execute(WITHOUT_RECEIPT).fetchall():
            pause.do(partial(write_receipt, shop, order, token))
        time.sleep(0.005)


def write_receipt(shop: sqlite3.Connection, order: int, token: str) -> None:
    text = f"Receipt {order} for {token}\n" * 20
    (ROOT / "data" / "receipts" / f"{order}.txt").write_text(text)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    shop.execute("UPDATE orders SET receipt = ? WHERE id = ?", (checksum, order))


def obey(listener: socket.socket, pause: Pause) -> None:
    """Pause and go on as told."""
    while True:
        connection, _ = listener.accept()
        with connection:
            words = connection.recv(64).decode().split()
            if words[0] == "pause":
                pause.begin(float(words[1]))
                connection.sendall(b"paused\n")
            else:
                pause.end()
                connection.sendall(b"running\n")


main()
