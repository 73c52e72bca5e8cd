"""Retention: the rule that says which restore points are kept, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from quiesce.model.ids import DeploymentName
from quiesce.model.restore_point import RestorePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What is to be kept. A restore point is kept when any rule wants it; None: no such rule."""

    #: the newest ones
    last: int | None = None
    #: the newest one of each of so many days (weeks, months) that have any
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    #: those made within so many seconds before the newest good one
    within_s: float | None = None
    #: look only at restore points of this ``snapshot_type``; None: at all
    type: str | None = None

    @property
    def keeps_nothing(self) -> bool:
        """Whether there is no rule at all: retention is off."""
        rules = (self.last, self.daily, self.weekly, self.monthly, self.within_s)
        return all(rule is None for rule in rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one restore point is kept, and why."""

    point: RestorePoint
    kept: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """What a policy means for the restore points of one deployment, newest first."""

    deployment: DeploymentName
    policy: RetentionPolicy
    verdicts: tuple[Verdict, ...]

    @property
    def to_remove(self) -> tuple[RestorePoint, ...]:
        """Those to be removed, newest first: an older one may be what a newer one is based on."""
        return tuple(verdict.point for verdict in self.verdicts if not verdict.kept)
