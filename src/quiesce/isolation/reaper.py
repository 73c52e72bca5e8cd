"""A process that kills our children when we die, however we die.

Without it a freeze script could go on after the guard has thawed, and leave the node frozen permanently.
"""

from __future__ import annotations

import subprocess
import sys
import threading

from quiesce.isolation.runtime_files import RUNTIME


class Reaper:
    """Watches process groups from a process of its own, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: dict[int, float] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, group: int, grace_s: float) -> None:
        """Have *group* killed if we die: asked to end first, when *grace_s* is not 0."""
        with self._lock:
            self._groups[group] = grace_s
            self._write(f"watch {group} {grace_s}\n")

    def forget(self, group: int) -> None:
        """Leave *group* alone from now on."""
        with self._lock:
            self._groups.pop(group, None)
            self._write(f"forget {group}\n")

    def close(self) -> None:
        """End the process; what is still watched is killed."""
        with self._lock:
            self._end()

    def _write(self, line: str) -> None:
        try:
            self._send(line)
        except BrokenPipeError:
            self._end()
            self._send("".join(f"watch {group} {grace_s}\n" for group, grace_s in self._groups.items()))

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.wait()

    def _send(self, text: str) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(RUNTIME / "reaper.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
            )
        if self._process.stdin is not None:
            self._process.stdin.write(text.encode())
