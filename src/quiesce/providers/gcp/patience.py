"""How long one call goes on asking, and how it waits between two questions."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from quiesce.errors import OperationTimeoutError
from quiesce.ports import Context

#: the longest that one request may take, in seconds: the service's own `wait` answers within two minutes
REQUEST_S: Final = 130.0
_SLICE_S: Final = 0.5
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 8.0


class Patience:
    """The time that one call of the engine has left."""

    def __init__(self, context: Context, sleep: Callable[[float], None] = time.sleep) -> None:
        self._context = context
        self._sleep = sleep

    def request_s(self) -> float:
        """Return the time-out for the next request.

        Raises:
            OperationTimeoutError: when nobody waits for its answer any more.
        """
        left_s = self._context.remaining_s()
        if left_s <= 0 or self._context.given_up():
            raise OperationTimeoutError("Compute Engine has not finished in the time that was given")
        return min(left_s, REQUEST_S)

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than anybody waits for the call."""
        while seconds > 0:
            part_s = min(seconds, _SLICE_S, self.request_s())
            self._sleep(part_s)
            seconds -= part_s

    def back_off(self, attempt: int) -> None:
        """Wait longer after each *attempt*, and never in step with others."""
        pause_s = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S)
        self.pause(pause_s * random.uniform(0.75, 1.25))  # noqa: S311  not a secret
