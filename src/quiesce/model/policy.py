"""Policies: what is to happen to a deployment by itself, when, and what came of it."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NewType

from quiesce.errors import QuiesceError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import DeploymentName, ExecutionId, Json
from quiesce.model.options import option
from quiesce.model.retention import RetentionPolicy
from quiesce.model.words import WrongValueError, read_positive_seconds, whole_number

PolicyName = NewType("PolicyName", str)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


class PointKind(enum.StrEnum):
    """What a policy makes."""

    #: stays on its source's storage, and does not survive it
    SNAPSHOT = "snapshot"
    #: a full copy in a repository
    BACKUP = "backup"


def policy_name(value: Json) -> PolicyName:
    """Return *value* as a policy's name: it is part of its restore points' names."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise WrongValueError(value, "1 to 40 letters, digits, '_' or '-', the first a letter or digit")
    return PolicyName(value)


def read_period(value: Json) -> float:
    """Return a period in seconds: ``90s``, ``10m``, ``36h``, ``7d`` or ``8w``."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", value) if isinstance(value, str) else None
    if match is None:
        raise WrongValueError(value, "a period such as 10m, 36h, 7d or 8w")
    return int(match[1]) * _UNITS_S[match[2]]


def _read_class(value: Json) -> Consistency:
    word = value.upper() if isinstance(value, str) else ""
    if word not in Consistency.__members__:
        raise WrongValueError(value, "one of " + ", ".join(each.label for each in Consistency))
    return Consistency[word]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRules:
    """The keys of a policy, as an operator writes them."""

    schedule: str = option("", "when: five words of cron, such as '30 2 * * *', or @daily, @hourly, @weekly")
    timezone: str = option("", "the time zone of the schedule, such as Europe/Berlin; else this machine's")
    jitter: float = option(0.0, "spread the start over so long, the same for each run", read=read_period)
    kind: PointKind = option(PointKind.SNAPSHOT, "snapshot, or backup: a full copy that survives its source")
    keep_last: int | None = option(None, "keep the newest N", read=whole_number(1))
    keep_daily: int | None = option(None, "keep one of each of N days", read=whole_number(1))
    keep_weekly: int | None = option(None, "keep one of each of N weeks", read=whole_number(1))
    keep_monthly: int | None = option(None, "keep one of each of N months", read=whole_number(1))
    keep_within: float | None = option(
        None, "keep those made within so long before the newest", read=read_period
    )
    max_frozen: float | None = option(
        None, "the longest frozen window that is allowed", read=read_positive_seconds
    )
    at_least: Consistency = option(
        Consistency.NONE, "the lowest consistency that is no failure", read=_read_class
    )
    verify_every: float | None = option(
        None, "read the newest restore point again when its last check is older", read=read_period
    )
    prove_every: float | None = option(
        None,
        "restore the newest restore point on trial when the last such proof is older",
        read=read_period,
    )
    prove_check: str | None = option(
        None, "command that looks at what was restored on trial; status 0: all is well"
    )
    copy_to: tuple[str, ...] = option((), "URLs of repositories that each backup is copied to")
    catch_up: bool = option(True, "make up for a run that was missed, once, as soon as it is possible")
    overdue_after: float = option(
        3600.0, "how long after its time a run without success is overdue", read=read_period
    )
    notify: tuple[str, ...] = option((), "names of secrets that hold apprise URLs to be told of trouble")
    dead_man: str | None = option(
        None, "name of the secret that holds a URL to be called after each good run"
    )
    parameters: Mapping[str, Json] | None = option(
        None, "more parameters for the backup, such as exclude_nodes"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy of one deployment."""

    deployment: DeploymentName
    name: PolicyName
    #: as given, without what was left out
    given: Mapping[str, Json]
    rules: PolicyRules
    #: runs that were due before are none of its own; seconds since the epoch
    since: float
    #: when somebody was last told that it is in trouble; None: it is not in trouble
    told_at: float | None = None

    @property
    def retention(self) -> RetentionPolicy:
        """What is kept of what the policy made: its restore points have its name as their type."""
        rules = self.rules
        return RetentionPolicy(
            last=rules.keep_last,
            daily=rules.keep_daily,
            weekly=rules.keep_weekly,
            monthly=rules.keep_monthly,
            within_s=rules.keep_within,
            type=self.name,
        )


class ChoreKind(enum.StrEnum):
    """What a policy does beside its backups, when all that are due are made."""

    #: a restore on trial
    PROOF = "proof"
    #: copies in a second place
    COPY = "copy"


def chore_name(policy: PolicyName, kind: ChoreKind) -> PolicyName:
    """Return the name under which runs of a chore are kept: no policy can be called so."""
    return PolicyName(f"{policy}/{kind}")


class RunState(enum.StrEnum):
    """What became of a run that was due."""

    #: somebody has begun it, or died in it
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    #: its time passed with nobody there, and it was not made up for
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRun:
    """One run of a policy: there is at most one for each time that it was due."""

    deployment: DeploymentName
    policy: PolicyName
    #: seconds since the epoch
    due_at: float
    state: RunState
    started_at: float
    ended_at: float | None = None
    execution: ExecutionId | None = None
    #: what went wrong
    message: str = ""
    #: how many earlier runs had been missed when it began
    missed_before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoreState:
    """How one of them stands."""

    kind: ChoreKind
    #: when it is, or was, due; None: there is nothing for it to be done with
    due_at: float | None
    #: when it last succeeded; None: never
    last_good_at: float | None
    #: the last try
    last: PolicyRun | None
    #: since when a success is overdue; None: it is not
    overdue_since: float | None

    @property
    def failed(self) -> bool:
        """Whether the last try failed."""
        return self.last is not None and self.last.state is RunState.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyState:
    """How a policy stands."""

    policy: Policy
    last: PolicyRun | None
    last_good: PolicyRun | None
    next_due_at: float
    #: since when a run without success is overdue; None: nothing is
    overdue_since: float | None
    #: proofs and copies, as far as the policy asks for them
    chores: tuple[ChoreState, ...] = ()

    @property
    def in_trouble(self) -> bool:
        """Whether somebody should look at it."""
        failed = self.last is not None and self.last.state is RunState.FAILED
        chores = any(each.failed or each.overdue_since is not None for each in self.chores)
        return failed or self.overdue_since is not None or chores


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRun:
    """What came of one run that was due."""

    run: PolicyRun
    #: what was wrong, the worst first
    errors: tuple[QuiesceError, ...] = ()
    #: removed by retention
    removed: tuple[str, ...] = ()
    verified: str | None = None
    #: what a proof has found, or which restore points were copied
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueReport:
    """What came of all that was due."""

    runs: tuple[DueRun, ...]
    #: deployments on which another process runs what is due
    busy: tuple[DeploymentName, ...] = ()
    #: what could not be told to whom it should be
    untold: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[QuiesceError, ...]:
        """Everything that went wrong."""
        return tuple(error for each in self.runs for error in each.errors)
