"""The shop's two processes: started, killed, and looked at from outside."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE_S = 60.0


class Application:
    """A web service and a background worker, running in the directory *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> int:
        """Start both; return the port of the web service."""
        run = self.root / "run"
        run.mkdir(parents=True, exist_ok=True)
        signs = [run / "web.port", run / "web.pid", run / "worker.pid"]
        for sign in signs:
            sign.unlink(missing_ok=True)
        for program in ("service.py", "worker.py"):
            command = [sys.executable, HERE / "shop" / program, self.root]
            self._processes.append(subprocess.Popen(command, start_new_session=True))
        ends = time.monotonic() + PATIENCE_S
        while not all(sign.exists() and sign.read_text() for sign in signs):
            if time.monotonic() > ends:
                raise RuntimeError("the shop does not start")
            time.sleep(0.02)
        return int((run / "web.port").read_text())

    def kill(self) -> None:
        """Kill both, as a machine that fails does."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def states(self) -> Sequence[str]:
        """Return the kernel's word for what each process does: R, S, T (stopped)."""
        return [
            Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            for process in self._processes
        ]
