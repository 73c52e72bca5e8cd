"""The machine's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Answers the port `Clock`."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def tick(self) -> float:
        """Return seconds of the monotonic clock, the same for all processes since the machine's start."""
        return time.monotonic()
