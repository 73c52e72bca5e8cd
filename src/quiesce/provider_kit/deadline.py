"""How long one call goes on asking a platform, and how it waits between two questions."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from quiesce.errors import OperationTimeoutError
from quiesce.ports import Context

T = TypeVar("T")

#: the longest sleep without a look whether anybody still waits, in seconds
_SLICE_S: Final = 0.5
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 8.0


class Deadline:
    """The time that one call of the engine has left, in seconds."""

    def __init__(
        self,
        context: Context,
        what: str = "the platform's answer",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """*what* was waited for, for the error's message; *sleep* is a port for tests."""
        self._context = context
        self._what = what
        self._sleep = sleep

    def left_s(self, most_s: float = float("inf")) -> float:
        """Return what is left, at most *most_s*: the time-out for the next request.

        Raises:
            OperationTimeoutError: when nobody waits for its answer any more.
        """
        left_s = self._context.remaining_s()
        if left_s <= 0 or self._context.given_up():
            raise OperationTimeoutError(f"gave up waiting for {self._what}: the operation's time is over")
        return min(left_s, most_s)

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than anybody waits for the call."""
        while seconds > 0:
            part_s = self.left_s(min(seconds, _SLICE_S))
            self._sleep(part_s)
            seconds -= part_s

    def back_off(self, attempt: int, longest_s: float = _LONGEST_PAUSE_S) -> None:
        """Wait longer after each *attempt* (from 1), and never in step with others."""
        pause_s = min(_FIRST_PAUSE_S * 2.0 ** (min(attempt, 16) - 1), longest_s)
        self.pause(pause_s * random.uniform(0.75, 1.25))  # noqa: S311  not a secret

    def until(self, look: Callable[[], T | None], longest_s: float = _LONGEST_PAUSE_S) -> T:
        """Return what *look* gives once that is not None, asking less often the longer it takes."""
        attempt = 0
        while True:
            found = look()
            if found is not None:
                return found
            attempt += 1
            self.back_off(attempt, longest_s)
