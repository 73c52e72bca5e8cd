"""Which restore points a policy keeps, and why."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId
from quiesce.model.restore_point import Artifact, PointState, Proof, RestorePoint
from quiesce.model.retention import RetentionPlan, RetentionPolicy
from quiesce.planning.retention import foundations, is_good, plan_retention

SHOP = DeploymentName("shop")
HOUR, DAY = 3600.0, 86400.0
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC).timestamp()  # a Monday


def point(name: str, at: float, *, on: Sequence[str] = ("vm",), **more: Any) -> RestorePoint:
    """A good snapshot of *on*, made so many seconds after a Monday's noon."""
    builds_on = more.pop("builds_on", None)
    fields: dict[str, Any] = {
        "full": False,
        "type": "irregular",
        "state": PointState.COMPLETE,
        "consistency": Consistency.APPLICATION,
        **more,
    }
    return RestorePoint(
        deployment=SHOP,
        name=BackupName(name),
        rotation=1,
        execution=ExecutionId(f"backup-{name}"),
        made_at=NOON + at,
        artifacts=tuple(
            Artifact(
                instance=InstanceId(instance),
                provider="fake",
                function="f",
                state=PointState.COMPLETE,
                consistency=Consistency.APPLICATION,
                content={} if builds_on is None else {"builds_on": list(builds_on)},
            )
            for instance in on
        ),
        **fields,
    )


def judge(
    points: Sequence[RestorePoint],
    policy: RetentionPolicy,
    busy: Sequence[str] = (),
    now: float | None = None,
) -> RetentionPlan:
    """What *policy* means, with days of UTC."""
    return plan_retention(
        SHOP,
        points,
        policy,
        day_of=lambda at: dt.datetime.fromtimestamp(at, dt.UTC).date(),
        now=NOON + 100 * 366 * DAY if now is None else now,
        busy=[BackupName(name) for name in busy],
    )


def kept(points: Sequence[RestorePoint], *, busy: Sequence[str] = (), **rules: Any) -> set[str]:
    """The names of those that stay."""
    return {v.point.name for v in judge(points, RetentionPolicy(**rules), busy).verdicts if v.kept}


def why(points: Sequence[RestorePoint], name: str, **rules: Any) -> tuple[str, ...]:
    """The reasons of one verdict."""
    return next(v.reasons for v in judge(points, RetentionPolicy(**rules)).verdicts if v.point.name == name)


HOURLY = [point(f"h{n}", n * HOUR) for n in range(72)]


def test_without_a_rule_nothing_is_judged() -> None:
    with pytest.raises(UsageError, match="retention is off"):
        judge(HOURLY, RetentionPolicy(type="daily"))


def test_the_newest_are_kept() -> None:
    assert kept(HOURLY, last=3) == {"h71", "h70", "h69"}


def test_the_newest_of_each_day_is_kept() -> None:
    assert kept(HOURLY, daily=2) == {"h71", "h59"}


def test_a_day_without_any_uses_up_no_place() -> None:
    points = [point("old", -9 * DAY), point("older", -10 * DAY), point("new", 0)]
    assert kept(points, daily=2) == {"new", "old"}


def test_the_newest_of_each_week_and_month_is_kept() -> None:
    points = [point(f"d{n}", n * DAY) for n in range(-40, 1)]
    assert kept(points, weekly=3) == {"d0", "d-1", "d-8"}
    assert kept(points, monthly=2) == {"d0", "d-2"}


def test_what_is_young_enough_is_kept_counted_from_the_newest() -> None:
    assert kept(HOURLY, within_s=2 * HOUR) == {"h71", "h70", "h69"}


def test_any_rule_is_enough_and_every_reason_is_told() -> None:
    assert kept(HOURLY, last=2, daily=2) == {"h71", "h70", "h59"}
    assert why(HOURLY, "h71", last=2, daily=2) == (
        "last 1 of 2",
        "daily 1 of 2",
        "the last good one (application)",
    )
    assert why(HOURLY, "h58", last=2, daily=2) == ("no rule keeps it",)


def test_snapshots_backups_and_those_of_other_instances_are_counted_apart() -> None:
    points = [
        point("whole", 0, on=("vm", "db")),
        point("backup", 1, full=True),
        point("older", 2),
        point("newer", 3),
    ]
    assert kept(points, last=1) == {"whole", "backup", "newer"}


def test_the_best_one_outlives_newer_ones_that_are_worth_less() -> None:
    points = [point("best", 0), point("poor", 1, consistency=Consistency.CRASH), point("poorer", 2)]
    points[2] = point("poorer", 2, consistency=Consistency.NONE)
    assert kept(points, last=1) == {"best", "poorer"}
    assert why(points, "best", last=1) == ("the last good one (application)",)


def test_what_is_damaged_fills_no_place() -> None:
    bad = Proof(at=NOON, kind="checksums", passed=False)
    points = [point("sound", 0), point("damaged", 1, proofs=(bad,))]
    assert kept(points, last=1) == {"sound", "damaged"}
    assert why(points, "damaged", last=1) == ("no newer good one holds the same instances",)
    points.append(point("newest", 2))
    assert kept(points, last=1) == {"newest"}
    assert "damaged, and newest is newer" in why(points, "damaged", last=1)[0]


def test_what_is_incomplete_is_removed_unless_an_execution_works_on_it() -> None:
    points = [point("good", 0), point("half", 1, state=PointState.INCOMPLETE)]
    assert kept(points, last=5) == {"good"}
    assert kept(points, last=5, busy=["half"]) == {"good", "half"}


def test_the_way_back_from_the_last_restore_is_kept_and_takes_no_place() -> None:
    points = [point("good", 0), point("s1", 1, safety=True), point("s2", 2, safety=True)]
    assert kept(points, last=1) == {"good", "s2"}


def test_what_a_kept_one_builds_on_is_kept_at_any_distance() -> None:
    points = [
        point("full", 0),
        point("inc1", 1, builds_on=["full"]),
        point("inc2", 2, builds_on=["inc1"]),
        point("other", -1),
    ]
    assert kept(points, last=1) == {"full", "inc1", "inc2"}
    assert why(points, "full", last=1) == ("inc1 builds on it",)


def test_only_those_of_a_type_are_looked_at_and_the_others_keep_what_they_build_on() -> None:
    points = [
        point("base", 0, type="daily"),
        point("weekly", 1, type="weekly", builds_on=["base"]),
        point("d2", 2, type="daily"),
        point("d3", 3, type="daily"),
    ]
    plan = judge(points, RetentionPolicy(last=1, type="daily"))
    assert {v.point.name: v.kept for v in plan.verdicts} == {"d3": True, "d2": False, "base": True}


any_points = st.lists(
    st.builds(
        lambda n, at, **more: point(f"p{n}", at * HOUR, **more),
        st.integers(0, 999),
        st.integers(0, 2000),
        on=st.sampled_from([("vm",), ("db",), ("vm", "db")]),
        full=st.booleans(),
        type=st.sampled_from(["daily", "weekly"]),
        safety=st.booleans(),
        state=st.sampled_from([s for s in PointState if s is not PointState.REMOVED]),
        consistency=st.sampled_from(Consistency),
        proofs=st.lists(
            st.builds(Proof, at=st.just(NOON), kind=st.just("checksums"), passed=st.booleans()), max_size=1
        ).map(tuple),
        builds_on=st.none() | st.lists(st.integers(0, 999).map(lambda n: f"p{n}"), max_size=2),
    ),
    unique_by=lambda p: p.name,
    max_size=25,
)
counts = st.none() | st.integers(1, 6)
policies = st.builds(
    RetentionPolicy,
    last=counts,
    daily=counts,
    weekly=counts,
    monthly=counts,
    within_s=st.none() | st.floats(0, 900 * HOUR),
    type=st.none() | st.just("daily"),
).filter(lambda policy: not policy.keeps_nothing)


@given(any_points, policies)
def test_of_every_kind_the_last_good_one_always_stays(
    points: list[RestorePoint], policy: RetentionPolicy
) -> None:
    staying = {v.point.name for v in judge(points, policy).verdicts if v.kept}
    for one in points:
        same = [p for p in points if is_good(p) and (p.full, _on(p)) == (one.full, _on(one))]
        same = [p for p in same if policy.type in (None, p.type)]
        if same:
            best = max(p.consistency for p in same)
            newest = max((p for p in same if p.consistency == best), key=lambda p: (p.made_at, p.name))
            assert newest.name in staying


@given(any_points, policies)
def test_nothing_goes_that_something_else_builds_on(
    points: list[RestorePoint], policy: RetentionPolicy
) -> None:
    unkept = {p.name for p in judge(points, policy).to_remove}
    needed = {name for p in points if p.name not in unkept for name in foundations(p)}
    assert not unkept & needed


@given(any_points, policies)
def test_removing_what_is_doomed_leaves_nothing_more_to_remove(
    points: list[RestorePoint], policy: RetentionPolicy
) -> None:
    unkept = {p.name for p in judge(points, policy).to_remove}
    left = [p for p in points if p.name not in unkept]
    assert judge(left, policy).to_remove == ()


@given(any_points, policies, counts)
def test_a_rule_more_never_removes_more(
    points: list[RestorePoint], policy: RetentionPolicy, more: int | None
) -> None:
    wider = RetentionPolicy(
        last=(policy.last or 0) + (more or 1),
        daily=policy.daily,
        weekly=policy.weekly,
        monthly=policy.monthly,
        within_s=policy.within_s,
        type=policy.type,
    )
    good = {p.name for p in points if is_good(p)}
    before = {p.name for p in judge(points, policy).to_remove} & good
    after = {p.name for p in judge(points, wider).to_remove} & good
    assert after <= before


@given(any_points, policies)
def test_every_point_of_the_type_has_one_verdict_with_a_reason_newest_first(
    points: list[RestorePoint], policy: RetentionPolicy
) -> None:
    verdicts = judge(points, policy).verdicts
    wanted = [p for p in points if policy.type in (None, p.type)]
    assert [v.point.name for v in verdicts] == [
        p.name for p in sorted(wanted, key=lambda p: (p.made_at, p.name), reverse=True)
    ]
    assert all(v.reasons for v in verdicts)


def _on(one: RestorePoint) -> frozenset[str]:
    return frozenset(artifact.instance for artifact in one.artifacts)


@pytest.mark.parametrize(
    "rules", [{"last": 1}, {"daily": 2}, {"weekly": 1}, {"monthly": 1}, {"within_s": 2 * DAY}]
)
def test_a_point_from_the_future_is_named_and_displaces_none(rules: dict[str, Any]) -> None:
    real, now = [point("old", 0), point("new", DAY)], NOON + 2 * DAY
    without = {v.point.name for v in judge(real, RetentionPolicy(**rules), now=now).verdicts if v.kept}
    plan = judge([*real, point("later", 366 * DAY)], RetentionPolicy(**rules), now=now)
    assert {v.point.name for v in plan.verdicts if v.kept} == without | {"later"}
    (named,) = (v for v in plan.verdicts if v.point.name == "later")
    assert "from the future" in named.reasons[0]


def in_order(*points: RestorePoint) -> list[RestorePoint]:
    """Made one after the other, whatever they say themselves."""
    return [replace(each, sequence=place) for place, each in enumerate(points, start=1)]


@pytest.mark.parametrize("wrong_by", [-20000 * DAY, -3 * DAY, 3 * DAY, 5 * DAY])
def test_a_clock_that_was_wrong_for_one_night_takes_nobody_s_place(wrong_by: float) -> None:
    """It does not count as newer than what was made after it, nor as too old for what it is."""
    nights = [point(f"n{n}", n * DAY) for n in range(7)]
    nights[3] = point("wrong", 3 * DAY + wrong_by)
    points = in_order(*nights)
    assert kept(points, last=3) == {"n6", "n5", "n4"}
    assert kept(points, daily=3) == {"n6", "n5", "n4"}
    assert kept(points, within_s=4 * DAY) == {"n6", "n5", "n4", "wrong", "n2"}
    assert kept(points[:4], last=1) == {"wrong"}, "it is the newest by its order"


@given(st.permutations(range(6)), st.lists(st.floats(-9e8, 9e8), min_size=6, max_size=6))
def test_only_the_order_counts_for_the_newest(order: list[int], at: list[float]) -> None:
    """Whatever the clock said at any of them, and in whatever order they are listed."""
    points = in_order(*(point(f"p{n}", at[n]) for n in range(6)))
    assert kept([points[n] for n in order], last=2) == {"p5", "p4"}
