"""Threads that perform calls side by side."""

from __future__ import annotations

import threading
import time

from quiesce.engine import ThreadWorkers
from quiesce.model.outcome import NOTHING


class RealClock:
    """The machine's."""

    def now(self) -> float:
        return time.time()

    def tick(self) -> float:
        return time.monotonic()


def test_places_that_were_made_ready_need_no_new_thread() -> None:
    workers = ThreadWorkers(RealClock())
    workers.make_ready(3)
    before = threading.active_count()
    together = threading.Barrier(3, timeout=30)

    def meet() -> object:
        together.wait()
        return NOTHING

    for ticket in range(3):
        workers.start(ticket, meet)  # type: ignore[arg-type]
    assert threading.active_count() == before
    seen: set[int] = set()
    while len(seen) < 3:
        seen |= {completion.ticket for completion in workers.wait(time.monotonic() + 30)}
    assert seen == {0, 1, 2}
