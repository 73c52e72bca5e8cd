"""Which restore points a retention policy keeps and which it removes; each with its reasons.

Rules count good restore points only, and those of one kind (snapshot or backup) and of the same instances for
themselves: a snapshot an hour old is no reason to remove last night's backup, nor is one of another machine.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from quiesce.errors import UsageError
from quiesce.model.ids import BackupName, DeploymentName, InstanceId
from quiesce.model.restore_point import PointState, RestorePoint, Trust
from quiesce.model.retention import RetentionPlan, RetentionPolicy, Verdict

DayOf: TypeAlias = Callable[[float], dt.date]

#: by so much two machines' clocks may differ without being called wrong, in seconds
_CLOCKS_DIFFER_S: Final = 300.0
_FROM_FUTURE: Final = "it is from the future (the clock was wrong): no rule counts it; remove it by its name"


def plan_retention(
    deployment: DeploymentName,
    points: Sequence[RestorePoint],
    policy: RetentionPolicy,
    *,
    day_of: DayOf,
    now: float,
    busy: Collection[BackupName] = (),
) -> RetentionPlan:
    """Return what *policy* means for *points*; *busy* ones belong to executions that are not over.

    What was made after *now* was made while the clock was wrong: it stays, is named, and displaces nothing.

    *day_of* tells the day of a time, in the operator's time zone. The last good restore point of each kind is
    always kept, and so is what a kept one builds on.

    Raises:
        UsageError: when the policy has no rule: no rule was given.
    """
    if policy.keeps_nothing:
        raise UsageError(
            "retention is off unless a rule says what to keep",
            hint="Give --keep-last, --keep-daily, --keep-weekly, --keep-monthly or --keep-within.",
        )
    newest_first = sorted(points, key=_age, reverse=True)
    chosen = list(filter(_of_type(policy), newest_first))
    to_come = [point for point in chosen if is_from_future(point, now)]
    present = tuple(point for point in chosen if not is_from_future(point, now))
    judging = _Judging(policy=policy, day_of=day_of, points=present, times=believed_times(present))
    judging.judge()
    for name in busy:
        judging.keep(name, "an unfinished execution uses it")
    judging.keep_foundations(newest_first)
    named = [Verdict(point=point, kept=True, reasons=(_FROM_FUTURE,)) for point in to_come]
    return RetentionPlan(deployment=deployment, policy=policy, verdicts=(*named, *judging.verdicts()))


@dataclass(slots=True, kw_only=True)
class _Judging:
    """The reasons found so far."""

    policy: RetentionPolicy
    day_of: DayOf
    #: newest first
    points: tuple[RestorePoint, ...]
    #: when each was made, without what the order of their making contradicts
    times: Mapping[BackupName, float]
    kept: dict[BackupName, list[str]] = field(default_factory=dict)
    removed: dict[BackupName, str] = field(default_factory=dict)

    def judge(self) -> None:
        """Apply every rule."""
        for group in _groups(self.points):
            self._keep_by_rules(group)
            best = max(group, key=lambda point: (point.consistency, *_age(point)))
            self.keep(best.name, f"the last good one ({best.consistency.label})")
        self._judge_safety([point for point in self.points if point.safety])
        for point in self.points:
            if not point.safety and not is_good(point):
                self._judge_poor(point)

    def keep(self, name: BackupName, reason: str) -> None:
        """Record why *name* is kept."""
        self.kept.setdefault(name, []).append(reason)

    def keep_foundations(self, every: Sequence[RestorePoint]) -> None:
        """Keep what a point that stays builds on, also one that is of another type."""
        judged = {point.name for point in self.points}
        by_name = {point.name: point for point in every}
        staying = [point for point in every if point.name in self.kept or point.name not in judged]
        while staying:
            point = staying.pop()
            for name in sorted(foundations(point) & judged - self.kept.keys()):
                self.keep(name, f"{point.name} builds on it")
                staying.append(by_name[name])

    def verdicts(self) -> Iterator[Verdict]:
        """Give the verdict on every point."""
        for point in self.points:
            reasons = self.kept.get(point.name)
            why_not = self.removed.get(point.name, "no rule keeps it")
            yield Verdict(point=point, kept=reasons is not None, reasons=tuple(reasons or [why_not]))

    def _keep_by_rules(self, group: Sequence[RestorePoint]) -> None:
        for place, point in enumerate(group[: self.policy.last or 0], start=1):
            self.keep(point.name, f"last {place} of {self.policy.last}")
        self._keep_one_each(group, "daily", self.policy.daily, lambda day: day)
        self._keep_one_each(group, "weekly", self.policy.weekly, lambda day: day.isocalendar()[:2])
        self._keep_one_each(group, "monthly", self.policy.monthly, lambda day: (day.year, day.month))
        for point in group:
            self._keep_if_within(point, group[0])

    def _keep_one_each(
        self,
        group: Sequence[RestorePoint],
        rule: str,
        count: int | None,
        period_of: Callable[[dt.date], Hashable],
    ) -> None:
        newest: dict[Hashable, RestorePoint] = {}
        for point in group:
            newest.setdefault(period_of(self.day_of(self.times[point.name])), point)
        for place, point in enumerate(list(newest.values())[: count or 0], start=1):
            self.keep(point.name, f"{rule} {place} of {count}")

    def _keep_if_within(self, point: RestorePoint, newest: RestorePoint) -> bool:
        bound = self.policy.within_s
        within = bound is not None and self.times[newest.name] - self.times[point.name] <= bound
        if within:
            self.keep(point.name, "young enough")
        return within

    def _judge_safety(self, safeties: Sequence[RestorePoint]) -> None:
        whole = [point for point in safeties if point.state is PointState.COMPLETE]
        for point in whole[:1]:
            self.keep(point.name, "the safety point of the last restore")
        for point in safeties:
            self._keep_if_within(point, self.points[0])
            self.removed[point.name] = "the safety point of an earlier restore"

    def _judge_poor(self, point: RestorePoint) -> None:
        if self._keep_if_within(point, self.points[0]):
            return
        if point.state in (PointState.INCOMPLETE, PointState.REMOVING):
            self.removed[point.name] = f"it is {point.state}: it cannot be restored"
            return
        better = next((other for other in self.points if self._replaces(other, point)), None)
        if better is None:
            self.keep(point.name, "no newer good one holds the same instances")
        else:
            word = "damaged" if point.state is PointState.COMPLETE else point.state
            self.removed[point.name] = (
                f"it is {word}, and {better.name} is newer and holds the same instances"
            )

    def _replaces(self, other: RestorePoint, point: RestorePoint) -> bool:
        return (
            is_good(other)
            and other.name in self.kept
            and other.full == point.full
            and _age(other) > _age(point)
            and _instances(point) <= _instances(other)
        )


def believed_times(points: Sequence[RestorePoint]) -> Mapping[BackupName, float]:
    """Return when each of *points* (newest first) was made, as far as it can be believed.

    Their order is sure, the clock was not always right: the longest run of times that never go back is
    believed. Of any other it is only known that it was made after the believed one before it.
    """
    oldest_first = points[::-1]
    believed = _longest_rising([point.made_at for point in oldest_first])
    times: dict[BackupName, float] = {}
    last = next((oldest_first[place].made_at for place in sorted(believed)), 0.0)
    for place, point in enumerate(oldest_first):
        last = point.made_at if place in believed else last
        times[point.name] = last
    return times


def _longest_rising(values: Sequence[float]) -> frozenset[int]:
    """Return the places of a longest subsequence of *values* that never goes down."""
    ends: list[float] = []
    places: list[int] = []
    before: list[int | None] = []
    for place, value in enumerate(values):
        length = bisect.bisect_right(ends, value)
        ends[length : length + 1] = [value]
        places[length : length + 1] = [place]
        before.append(places[length - 1] if length else None)
    chosen: set[int] = set()
    place_or_none = places[-1] if places else None
    while place_or_none is not None:
        chosen.add(place_or_none)
        place_or_none = before[place_or_none]
    return frozenset(chosen)


def is_from_future(point: RestorePoint, now: float) -> bool:
    """Tell whether *point* says that it was made later than *now*: the clock was wrong, then or now."""
    return point.made_at > now + _CLOCKS_DIFFER_S


def is_good(point: RestorePoint) -> bool:
    """Tell whether *point* was made to be restored, is complete, and no check has found it damaged."""
    return point.state is PointState.COMPLETE and point.trust is not Trust.DAMAGED and not point.safety


def foundations(point: RestorePoint) -> frozenset[BackupName]:
    """Return the restore points without which *point* cannot be restored, as its artifacts say."""
    named = (artifact.content.get("builds_on") for artifact in point.artifacts)
    return frozenset(BackupName(str(name)) for names in named if isinstance(names, list) for name in names)


def _groups(points: Sequence[RestorePoint]) -> Sequence[Sequence[RestorePoint]]:
    groups: dict[Hashable, list[RestorePoint]] = {}
    for point in points:
        if is_good(point):
            groups.setdefault((point.full, _instances(point)), []).append(point)
    return list(groups.values())


def _instances(point: RestorePoint) -> frozenset[InstanceId]:
    return frozenset(artifact.instance for artifact in point.artifacts)


def _of_type(policy: RetentionPolicy) -> Callable[[RestorePoint], bool]:
    return lambda point: policy.type is None or point.type == policy.type


def _age(point: RestorePoint) -> tuple[int, float, str]:
    return point.sequence, point.made_at, point.name
