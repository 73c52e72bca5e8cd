"""The window over ten servers and ten volumes of a cloud that cuts them all at once, beside one alone.

The cloud is in memory: each request takes as long as on the lab, each cut as long as a lone one there, and
nothing makes another wait. So what the window is longer than a lone cut is quiesce's own doing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import openstack  # noqa: F401
except ImportError:
    print("skipped: needs the Python package openstacksdk (quiesce[openstack])")
    sys.exit()

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit" / "openstack"))

from fake_openstack import FakeClient, FakeOpenStack
from openstack_ten import CountedProvider, Figures, measure_quiesce

#: as measured on the lab, in seconds
REQUEST_S = 0.1
CUT_S = 1.2
#: of `FakeOpenStack`, for a cut
CUT_TICKS = 2
COUNT = 10


class PromptOpenStack(FakeOpenStack):
    """Its time is the clock's, not the requests'."""

    def tick(self) -> None:
        """Pass over: nothing is due because somebody asks."""

    def later(self, ticks: int, effect: Callable[[], None]) -> None:
        """Let *effect* happen after some time."""

        def happen() -> None:
            with self.lock:
                effect()

        threading.Timer(ticks * CUT_S / CUT_TICKS, happen).start()


class DistantClient(FakeClient):
    """Each of its requests takes a while."""

    def request(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Ask the fake, later."""
        time.sleep(REQUEST_S)
        return super().request(*arguments, **options)


def measure(servers: int, volumes: int) -> Figures:
    """Back up a cloud of so many, by the command line."""
    cloud = PromptOpenStack()
    CountedProvider.make = lambda _: DistantClient(cloud)
    made = [cloud.boot(name=f"server-{number}") for number in range(servers)]
    return measure_quiesce(None, made, [cloud.volume(name=f"volume-{number}") for number in range(volumes)])


def main() -> None:
    """Measure one server alone, one volume alone, and ten of each."""
    lone = [measure(1, 0), measure(0, 1)]
    every = measure(COUNT, COUNT)
    slowest_s = max(figures.window_s for figures in lone)
    print(f"{2 * COUNT} objects, each request takes {REQUEST_S} s, each cut {CUT_S} s")
    print(f"window {every.window_s:.2f} s, slowest lone cut {slowest_s:.2f} s")
    print(f"window to slowest lone cut  {every.window_s / slowest_s:.2f}  (goal 1.20)")
    print(f"changes                     {every.changes}  (goal {3 + 2 * 2 * COUNT})")
    print(f"lists                       {every.lists}")


if __name__ == "__main__":
    main()
