"""Kills the process groups it was told to watch when the process that told it dies.

Reads ``watch GROUP GRACE_S`` and ``forget GROUP`` from standard input; end of file means that the other end
is gone, with whatever it still watched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable


def main() -> None:
    """Watch until the end of standard input, then kill what is left."""
    groups: dict[int, float] = {}
    for line in sys.stdin:
        word, group, *grace = line.split()
        if word == "watch":
            groups[int(group)] = float(grace[0])
        else:
            groups.pop(int(group), None)
    _kill(groups)


def _kill(groups: dict[int, float]) -> None:
    patient = {group: grace for group, grace in groups.items() if grace > 0}
    _signal(groups.keys() - patient.keys(), signal.SIGKILL)
    _signal(patient.keys(), signal.SIGTERM)
    if patient:
        time.sleep(max(patient.values()))
        _signal(patient.keys(), signal.SIGKILL)


def _signal(groups: Iterable[int], number: int) -> None:
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)


if __name__ == "__main__":
    main()
