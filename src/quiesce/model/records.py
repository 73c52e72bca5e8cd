"""The journal's entries: an append-only, durable account of one execution.

Records are permanent: fields are only added, with a default. ``tests/golden`` holds one journal of each
release. Events (what people see) are a rendering of records, so there is one account, not two.

``at`` is wall-clock time (seconds since the epoch), for people only. ``tick`` is the machine's monotonic
clock in seconds, comparable between processes of one boot: durations are differences of ticks.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from quiesce.model.ids import StepId
from quiesce.model.outcome import Outcome


class Level(enum.StrEnum):
    """How much a log line matters."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Ending(enum.StrEnum):
    """How an execution ended."""

    #: everything asked for was done
    COMPLETED = "completed"
    #: everything was done, but what was made is worth less than was asked for; it is kept
    NOT_CONSISTENT = "not-consistent"
    #: it failed; what was frozen is thawed, what was incomplete is removed (or kept when asked to)
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An engine took the execution up: for the first time, or again after a crash."""

    at: float
    tick: float
    plan_digest: str
    #: 1 for the first engine, one more for each that took it up again
    turn: int = 1
    #: who: ``engine``, ``guard``, ``recover``
    by: str = "engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The intent: durable before the step's effect starts."""

    at: float
    tick: float
    step: StepId
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The step succeeded."""

    at: float
    tick: float
    step: StepId
    outcome: Outcome
    #: ticks around the provider's call itself
    began: float = 0.0
    ended: float = 0.0
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One attempt of the step failed; its effect may have happened all the same."""

    at: float
    tick: float
    step: StepId
    code: str
    message: str
    hint: str = ""
    #: the engine will try again after so many seconds; None: this was the last attempt
    retry_in_s: float | None = None
    attempt: int = 1
    #: no answer came: the call was given up while it was still running
    abandoned: bool = False
    #: what failed may be skipped (on_prepare_error: continue; an offered freeze that cannot be)
    passed_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A line that a provider, a script or the engine wants people to read."""

    at: float
    tick: float
    level: Level
    message: str
    step: StepId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far a running COPY or APPLY says that it is; written now and then only."""

    at: float
    tick: float
    step: StepId
    done_bytes: int
    #: None: it does not know yet
    total_bytes: int | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """From here on nothing new is started; debts are settled, then incomplete things are removed."""

    at: float
    tick: float
    code: str
    message: str
    hint: str = ""
    #: whether somebody asked for it (else something failed)
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The execution is over. Debts may still be open: see `History.debts`."""

    at: float
    tick: float
    ending: Ending
    message: str = ""


Record: TypeAlias = Started | Begun | Done | Failed | Logged | Progressed | Aborted | Ended
