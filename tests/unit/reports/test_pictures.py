"""What is drawn: who made the window, rows by instance, trends on an axis of time, curves."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.model.consistency import Consistency
from quiesce.model.execution import Execution
from quiesce.model.figures import Measured, numbers_of
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, StepId
from quiesce.model.operation import Operation
from quiesce.model.plan import Role
from quiesce.model.report import ExecutionReport, StepReport
from quiesce.model.restore_point import Artifact, PointState, RestorePoint
from quiesce.reports import critical
from quiesce.reports.classes import class_reasons, class_text
from quiesce.reports.critical import critical_path, critical_text
from quiesce.reports.html import render_html
from quiesce.reports.pictures import WIDTH, pictures_of, size_trend, window_trend
from quiesce.reports.series import curves_of


def step(instance: str, operation: Operation, began_s: float, ended_s: float | None) -> StepReport:
    """Return a step that has begun."""
    return StepReport(
        step=StepId(f"{instance}.{operation}"),
        instance=InstanceId(instance),
        operation=operation,
        interface="i",
        role=Role.MAIN,
        group=0,
        state="done" if ended_s is not None else "running",
        began_s=began_s,
        ended_s=ended_s,
    )


def report_of(*steps: StepReport) -> ExecutionReport:
    """Return the report of a backup with *steps*."""
    execution = Execution(
        id=ExecutionId("backup-1"), deployment=DeploymentName("shop"), workflow="backup", created_at=1000.0
    )
    return ExecutionReport(execution=execution, groups=("all",), steps=steps)


#: web-3 is cut last and longest; what is before the window and after it did not make it
BACKUP = report_of(
    step("web-1", Operation.PREPARE, 0.0, 3.0),
    step("web-1", Operation.FREEZE, 3.0, 3.004),
    step("web-3", Operation.FREEZE, 3.0, 3.006),
    step("web-1", Operation.SNAPSHOT, 3.006, 3.05),
    step("web-3", Operation.SNAPSHOT, 3.007, 3.147),
    step("web-1", Operation.THAW, 3.148, 3.149),
    step("web-3", Operation.THAW, 3.148, 3.152),
    step("web-3", Operation.COPY, 3.2, 9.0),
)


def test_the_step_that_made_the_window_is_named() -> None:
    path = critical_path(BACKUP)
    assert [(each.instance, each.operation) for each in path] == [
        ("web-3", Operation.FREEZE),
        ("web-3", Operation.SNAPSHOT),
        ("web-3", Operation.THAW),
    ]
    assert critical_text(BACKUP, path) == "web-3 made the window: its cut took 140 ms of 152"


def test_what_made_the_window_is_found_by_looking_at_each_step_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of hundreds of instances that are cut one after the other, whose page is drawn twice a second."""
    looked = 0

    def end(step: StepReport) -> float:
        nonlocal looked
        looked += 1
        return step.ended_s or 0.0

    monkeypatch.setattr(critical, "_end", end)
    turns = [Operation.FREEZE, *[Operation.SNAPSHOT] * 98, Operation.THAW]
    steps = [step(f"web-{n}", turn, float(n), n + 1.0) for n, turn in enumerate(turns)]
    assert critical_path(report_of(*steps)) == steps
    assert looked <= 10 * len(steps)


def test_a_long_window_is_told_in_seconds_and_none_not_at_all() -> None:
    long = report_of(step("db", Operation.FREEZE, 0.0, 20.0), step("db", Operation.THAW, 20.0, 25.0))
    assert critical_text(long, critical_path(long)) == "db made the window: its freeze took 20.0 s of 25.0"
    nothing = report_of(step("db", Operation.SNAPSHOT, 0.0, 1.0))
    assert (critical_path(nothing), critical_text(nothing, ())) == ((), "")


_times = st.floats(0, 1e6)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from([Operation.FREEZE, Operation.SNAPSHOT, Operation.THAW]),
            _times,
            st.none() | _times,
        ),
        max_size=12,
    )
)
def test_any_execution_can_be_drawn(drawn: list[tuple[str, Operation, float, float | None]]) -> None:
    steps = [
        replace(step(name, operation, began, None if lasted is None else began + lasted), step=StepId(str(n)))
        for n, (name, operation, began, lasted) in enumerate(drawn)
    ]
    report = report_of(*steps)
    path = critical_path(report)
    for earlier, later in itertools.pairwise(path):
        assert earlier.ended_s is not None
        assert later.began_s is not None
        assert earlier.ended_s <= later.began_s
    pictures = pictures_of(report)
    for picture in filter(None, (pictures.whole, pictures.window)):
        for lane in picture.lanes:
            for bar in lane.bars:
                assert bar.width > 0
                assert 0 <= bar.x <= WIDTH
    assert render_html(report)


def test_each_instance_is_one_row_and_the_window_has_a_picture_of_its_own() -> None:
    pictures = pictures_of(BACKUP)
    assert [lane.label for lane in pictures.whole.lanes] == ["web-1", "web-3"]
    assert pictures.window is not None
    assert [[bar.kind for bar in lane.bars] for lane in pictures.window.lanes] == [
        ["prepare", "freeze", "snapshot", "thaw"],
        ["freeze", "snapshot", "thaw"],
    ]
    web3 = pictures.window.lanes[1]
    assert web3.frozen == (0.0, WIDTH)
    assert [bar.critical for bar in web3.bars] == [True, True, True]
    assert not any(bar.critical for bar in pictures.window.lanes[0].bars)
    assert pictures.path[1] == ("web-3", "cut", "140 ms")


def test_of_a_thousand_instances_the_slowest_are_drawn() -> None:
    many = report_of(*(step(f"vm-{n:04}", Operation.SNAPSHOT, 0.0, 1.0 + n) for n in range(1000)))
    drawn = pictures_of(many).whole
    assert (len(drawn.lanes), drawn.left_out) == (60, 940)
    assert "vm-0999" in {lane.label for lane in drawn.lanes}


def point(name: str, made_at: float, *, window_s: float = 0.1, size: int = 10) -> RestorePoint:
    """Return a backup."""
    parts = (
        Artifact(
            instance=InstanceId("web"),
            provider="host",
            function="f",
            state=PointState.COMPLETE,
            consistency=Consistency.CRASH,
            content={"size_bytes": size},
            note="the agent does not answer",
        ),
        Artifact(
            instance=InstanceId("db"),
            provider="host",
            function="f",
            state=PointState.COMPLETE,
            consistency=Consistency.APPLICATION,
        ),
    )
    return RestorePoint(
        deployment=DeploymentName("shop"),
        name=BackupName(name),
        full=True,
        type="backup",
        rotation=1,
        execution=ExecutionId(f"backup-{name}"),
        state=PointState.COMPLETE,
        consistency=Consistency.CRASH,
        made_at=made_at,
        window_s=window_s,
        artifacts=parts,
    )


def test_trends_stand_on_an_axis_of_time_and_mark_the_one_that_is_read() -> None:
    points = [
        point("a", 0.0),
        point("b", 100.0, window_s=0.2, size=30),
        replace(point("safe", 150.0), safety=True),
        point("c", 400.0, window_s=0.4, size=20),
    ]
    windows, sizes = window_trend(points, "backup-b"), size_trend(points)
    assert windows is not None
    assert sizes is not None
    assert [bar.marked for bar in windows.bars] == [False, True, False]
    assert [round(bar.x) for bar in windows.bars] == [0, 248, 992]
    assert [bar.height for bar in windows.bars] == [20, 40, 80]
    assert (windows.highest, sizes.highest) == (0.4, 30)
    assert window_trend(points[:1]) is None
    assert window_trend([point("a", 5.0), point("b", 5.0)]) is not None


def test_the_part_that_decides_the_class_says_why() -> None:
    one = point("a", 0.0)
    assert class_text(one) == (
        "crash, because of web: it is as after a power cut at that instant (the agent does not answer)"
    )
    assert [(part.instance, part.decides) for part in class_reasons(one)] == [("web", True), ("db", False)]
    assert class_text(replace(one, consistency=Consistency.NONE)).startswith("none: something")
    whole = replace(one, consistency=Consistency.APPLICATION, artifacts=one.artifacts[1:])
    assert class_text(whole).startswith("application: what writes to it was held")


def test_numbers_are_found_within_mappings_and_nothing_else_is() -> None:
    figures = {"cpu_percent": 3, "disk": {"vda": {"read_bytes": 5.0}}, "up": True, "name": "x"}
    assert dict(numbers_of(figures)) == {"cpu_percent": 3.0, "disk.vda.read_bytes": 5.0}
    assert dict(numbers_of({"a": float("nan"), "b": float("inf"), "c": 10**400, "d": None})) == {}


def test_a_workload_is_told_before_during_and_after() -> None:
    measured = [
        Measured(at=float(at), figures={InstanceId("web"): {"rate": float(rate), "rss_bytes": 2048.0}})
        for at, rate in ((0, 10), (10, 20), (20, 4), (30, 6), (40, 30))
    ]
    found = curves_of(measured, (15.0, 35.0))
    assert found is not None
    (rate,) = found.curves
    assert (rate.before, rate.during, rate.after, rate.last) == ("15", "5", "30", "30")
    assert (rate.low, rate.high) == ("4", "30")
    assert found.constant == (("web", "rss_bytes", "2.0 KiB"),)
    assert found.span == (375.0, 500.0)
    assert [float(pair.split(",")[0]) for pair in rate.points.split()] == [0, 250, 500, 750, 1000]
    assert curves_of(measured[:1]) is None
    page = render_html(BACKUP, (), [replace(each, at=each.at + 985) for each in measured])
    assert "The workload before, during and after" in page


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(-1e290, 1e290)), min_size=2, max_size=20))
def test_any_series_can_be_drawn(values: list[tuple[float, float]]) -> None:
    series = [Measured(at=at, figures={InstanceId("a"): {"f": value}}) for at, value in sorted(values)]
    found = curves_of(series)
    assert found is not None
    assert len(found.curves) + len(found.constant) == 1
    for pair in (pair for curve in found.curves for pair in curve.points.split()):
        x, y = map(float, pair.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= 40
