"""One try of one step: how long it may take, and when it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from quiesce.errors import ProviderError
from quiesce.model.operation import REPLACING, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Role, Step

#: how long an attempt may exceed its time-out, in seconds, to report the reason by itself
GRACE_S: Final = 1.0
#: how long running attempts are waited for, in seconds, once their result is no longer needed
GIVEN_UP_PATIENCE_S: Final = 10.0
#: shortest time between two progress records of a copy, in seconds
PROGRESS_S: Final = 1.0
#: pauses between tries of what settles a debt, in seconds; the last one repeats
SETTLING_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
#: how often a removal is tried at least
LEAST_REMOVAL_TRIES: Final = 3


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A running try. *given_up* is set when its result is no longer needed; providers look at it."""

    ticket: int
    step: Step
    number: int
    began: float
    deadline: float
    given_up: bool = False
    abandoned: bool = False
    #: the progress that it reported, and the progress that the journal has
    done_bytes: int = 0
    total_bytes: int | None = None
    recorded_bytes: int = 0

    @property
    def has_progressed(self) -> bool:
        """Whether it moves data, and progressed by a hundredth since the last record."""
        moves = self.step.operation in (Operation.PREPARE, Operation.COPY, Operation.EXTRACT, *REPLACING)
        hundredth = max(1, (self.total_bytes or self.done_bytes) // 100)
        return moves and self.done_bytes - self.recorded_bytes >= hundredth


Perform: TypeAlias = Callable[[Attempt], Outcome]


def timeout_s(step: Step, parameters: Parameters) -> float:
    """Return how long one try of *step* may take, in seconds."""
    asked = parameters.operation_timeout_s
    if asked is None:
        return step.operation.timeout_s
    return max(asked, Operation.THAW.timeout_s) if step.role is Role.SETTLE else asked


def retry_pause_s(step: Step, tries: int, error: BaseException, parameters: Parameters) -> float | None:
    """Return how long to wait before *step* is tried again after *tries* tries; None: not again."""
    if step.role is Role.SETTLE:
        return SETTLING_PAUSES_S[min(tries, len(SETTLING_PAUSES_S)) - 1]
    if not isinstance(error, ProviderError) or not error.retryable:
        return None
    allowed = parameters.task_retries
    if step.role is Role.UNDO and allowed >= 0:
        allowed = max(allowed, LEAST_REMOVAL_TRIES)
    if 0 <= allowed < tries:
        return None
    return error.retry_after_s if error.retry_after_s is not None else parameters.task_retry_interval_s
