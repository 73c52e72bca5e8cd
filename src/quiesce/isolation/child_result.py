"""The result of an operation in a child, from what the child reported and how it ended."""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from dataclasses import dataclass, field

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError
from quiesce.model.ids import Json

_TAIL_LINES = 5


@dataclass(slots=True, kw_only=True)
class ChildResult:
    """Collects what a child reports about its operation; `final` gives the outcome."""

    value: Json = None
    #: which of `returns`, `abort` and `retry_operation` was requested; only one may be
    said: str = ""
    contradicted: bool = False
    raised: ProviderError | None = None
    retry: RecoverableError | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))

    def say(self, word: str) -> None:
        """Record the child's one final request.

        Raises:
            ValueError: when there was one before.
        """
        if self.said:
            self.contradicted = True
            raise ValueError("ctx may only abort or return once")
        self.said = word

    def final(self, name: str, status: int) -> Json:
        """Return the operation's result, now that *name* ended with *status*.

        Raises:
            ProviderError: when it failed or asked to be run again.
        """
        if self.contradicted:
            raise NonRecoverableError(f"{name} used more than one of ctx returns, abort and retry")
        error = self.raised or self.retry
        if error is not None:
            raise error
        if status != 0:
            message = f"{name} {_ending(status)}{self._last_words()}"
            raise RecoverableError(message, own=status > 0)
        return self.value

    def _last_words(self) -> str:
        return f": {' | '.join(self.tail)}" if self.tail else ""


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with exit status {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
