"""The rescue process: lets go on what was stopped when everything else of ours was killed at once.

It runs by itself, imports nothing of quiesce, and shares nothing with its other processes: no parent, no
session, no environment, no terminal, and where systemd runs, no control group. Holders tell it of each
freeze that a process's death does not end (stopped processes, frozen file systems) before it begins, and
again when it is over. When a holder dies in between, it thaws; and once more when the process that asked
for the freeze is dead, which may have stopped something in its last moment.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_LONGEST_MESSAGE: Final = 1 << 17
_FITHAW: Final = 0xC0045878
_NEVER_KILLED: Final = "-1000"


class Freeze:
    """One freeze, its holder, and the process that asked for it."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.key: str = message["key"]
        self.members: list[list[int]] = message.get("members", [])
        #: opened before it is frozen: nothing of a frozen file system is touched
        self._root: int | None = None
        if "path" in message:
            self._root = os.open(message["path"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._ends = time.monotonic() + message["thaw_after_s"]
        self._watched = [_open_process(*message[name]) for name in ("holder", "asker")]
        self._orphaned = False

    @property
    def watched(self) -> int | None:
        """What to wait for now: the holder's death, then the asker's; None: it is dead already."""
        return self._watched[self._orphaned]

    def next(self) -> bool:
        """Thaw, because whom we waited for is dead; tell whether there is somebody else to wait for."""
        self.thaw()
        if self._orphaned or self._watched[True] is None or time.monotonic() > self._ends:
            return False
        self._orphaned = True
        return True

    def thaw(self) -> None:
        """Let everything go on; thawed already is as good."""
        for pid, started in self.members:
            _continue(pid, started)
        if self._root is not None:
            with suppress(OSError):
                fcntl.ioctl(self._root, _FITHAW, 0)

    def close(self) -> None:
        """Forget it."""
        for descriptor in (*self._watched, self._root):
            if descriptor is not None:
                os.close(descriptor)


class Rescue:
    """All the freezes that there are."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._orders.setblocking(False)
        self._closed = False
        self._freezes: dict[str, Freeze] = {}

    def run(self) -> None:
        """Return when nobody can order anything any more, and nothing is held."""
        while self._freezes or not self._closed:
            poll = select.poll()
            if not self._closed:
                poll.register(self._orders, select.POLLIN)
            for freeze in self._freezes.values():
                if freeze.watched is not None:
                    poll.register(freeze.watched, select.POLLIN)
            dead = any(freeze.watched is None for freeze in self._freezes.values())
            ready = {descriptor for descriptor, _ in poll.poll(0 if dead else None)}
            self.take_orders()  # first: who has thawed says so before it ends
            for freeze in list(self._freezes.values()):
                if (freeze.watched is None or freeze.watched in ready) and not freeze.next():
                    self._forget(freeze.key)

    def thaw_all(self) -> None:
        """Thaw everything."""
        for freeze in self._freezes.values():
            freeze.thaw()

    def take_orders(self) -> None:
        """Note what has begun and what is over."""
        for order in self._received():
            key = order["key"]
            if "holder" in order:
                self._forget(key)
                with suppress(OSError):
                    self._freezes[key] = Freeze(order)
            elif "thawed" in order:
                self._forget(key)
            elif key in self._freezes:
                self._freezes[key].members += order["members"]

    def _received(self) -> Iterator[dict[str, Any]]:
        while not self._closed:
            descriptors: list[int] = []
            try:
                data, descriptors, _, _ = socket.recv_fds(self._orders, _LONGEST_MESSAGE, 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._closed = not data
            if data:
                yield json.loads(data)
            for descriptor in descriptors:  # whoever waits for its end knows that the order was taken
                os.close(descriptor)

    def _forget(self, key: str) -> None:
        freeze = self._freezes.pop(key, None)
        if freeze is not None:
            freeze.close()


def _continue(pid: int, started: int) -> None:
    descriptor = _open_process(pid, started)
    if descriptor is None:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGCONT)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _open_process(pid: int, started: int) -> int | None:
    """Return a descriptor of the process that has *pid* since *started*; None when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        stat = b""
    if stat and int(stat.rpartition(b")")[2].split()[19]) == started:
        return descriptor
    os.close(descriptor)
    return None


def main(orders: socket.socket) -> None:
    """Wait for the deaths of others."""
    rescue = Rescue(orders)

    def thaw_and_end(*_: object) -> None:
        rescue.take_orders()
        rescue.thaw_all()
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, thaw_and_end)  # the machine is shut down
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_NEVER_KILLED)
    rescue.run()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
