"""Text, JSON and HTML are views of the same report, and none of them breaks on odd names."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.execution import Execution, ExecutionState
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, StepId
from quiesce.model.operation import SNAPSHOT_CREATE, Operation
from quiesce.model.plan import Role
from quiesce.model.report import ExecutionReport, PlanReport, StepReport
from quiesce.model.restore_point import Artifact, PointState, Proof, RestorePoint
from quiesce.model.sizes import size_text
from quiesce.reports.escaping import printable
from quiesce.reports.html import render_html
from quiesce.reports.json import plain, render_error, render_json, render_json_line
from quiesce.reports.text import execution_text, plan_text, point_text, points_text, seconds, table

from ..stores import made  # noqa: TID252  any restore point

REPORT = ExecutionReport(
    execution=Execution(
        id=ExecutionId("backup-1"),
        deployment=DeploymentName("shop"),
        workflow="backup",
        created_at=1.0,
        state=ExecutionState.FAILED,
        message="<script>alert(1)</script>",
        owes=True,
    ),
    groups=("cut",),
    steps=(
        StepReport(
            step=StepId("vm.create"),
            instance=InstanceId("vm"),
            operation=Operation.SNAPSHOT,
            interface=SNAPSHOT_CREATE,
            role=Role.MAIN,
            group=0,
            state="failed",
            attempts=2,
            began_s=0.1,
            ended_s=0.4,
            message="no & never",
        ),
    ),
    window_s=0.5,
    frozen_s={InstanceId("vm"): 0.5},
    frozen=1,
    owed=(InstanceId("vm"),),
    measurements={InstanceId("vm"): {"cpu_percent": 3.14159, "threads": 4}},
    notes={InstanceId("vm"): "slow"},
    advice="Something may still be frozen: quiesce recover",
)


def test_the_text_says_what_is_still_frozen_and_what_to_do() -> None:
    text = execution_text(REPORT)
    assert "frozen window: 500 ms (1 frozen, 0 thawed; longest vm, 500 ms)" in text
    assert "NOT THAWED: vm" in text
    assert "vm: cpu_percent 3.142, threads 4" in text
    assert text.endswith("quiesce recover")


def test_the_page_holds_everything_itself_and_runs_nothing_of_what_it_shows() -> None:
    page = render_html(REPORT)
    assert "<script>alert" not in page
    assert "vm" in page
    for outside in ("http://", "https://", "src=", "@import"):
        assert outside not in page


def test_json_has_words_for_classes_and_states() -> None:
    report = json.loads(render_json("report", REPORT))
    assert report["schema"] == 1
    assert report["report"]["execution"]["state"] == "failed"
    assert plain({"worth": Consistency.APPLICATION}) == {"worth": "application"}
    assert "\n" not in render_json_line("report", REPORT)


def test_an_error_as_json_has_all_that_a_script_needs() -> None:
    error = json.loads(render_error(UsageError("no", hint="yes")))["error"]
    assert error == {"code": "usage", "message": "no", "hint": "yes", "exit_status": 2}


@made.relaxed
@given(point=made.restore_points)
def test_any_restore_point_can_be_shown(point: RestorePoint) -> None:
    assert printable(point.name) in point_text(point)
    assert printable(point.name) in points_text([point], 0.0)
    assert json.loads(render_json("restore_point", point))["restore_point"]["name"] == point.name


@given(st.floats(0, 1e7))
def test_durations_are_milliseconds_below_ten_seconds(value: float) -> None:
    assert seconds(value).endswith(" ms") == (value < 10)


def test_sizes_are_for_people() -> None:
    assert [size_text(size) for size in (0, 1023, 1024, 5 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 TiB",
    ]


def test_columns_are_aligned_and_lines_do_not_end_in_blanks() -> None:
    assert table(("A", "B"), [("long cell", ""), ("x", "y")]) == "A          B\nlong cell\nx          y"


def test_the_list_tells_how_much_is_stored_and_what_is_damaged() -> None:
    artifact = Artifact(
        instance=InstanceId("vm_1"),
        provider="host",
        function="f",
        state=PointState.COMPLETE,
        consistency=Consistency.CRASH,
        content={"size_bytes": 3 << 20},
    )
    point = RestorePoint(
        deployment=DeploymentName("shop"),
        name=BackupName("one"),
        full=True,
        type="daily",
        rotation=1,
        execution=ExecutionId("backup-1"),
        state=PointState.COMPLETE,
        consistency=Consistency.CRASH,
        made_at=0.0,
        artifacts=(artifact, artifact),
        proofs=(Proof(at=0.0, kind="checksums", passed=False),),
    )
    told = points_text([point], 0.0)
    assert "6.0 MiB" in told
    assert "DAMAGED" in told


def test_a_plan_shows_paths_that_differ_with_nothing_that_moves_the_terminal() -> None:
    report = PlanReport(
        deployment="shop",
        workflow="restore",
        parameters={},
        groups=(),
        warnings=(),
        predicted_window_s=0.0,
        max_freeze_s=1.0,
        differences={InstanceId("vm_a"): ["nvram: /a\x1b[2J, which is /b now"]},
        lost={InstanceId("vm_a"): ["its tag \x1b[2J"]},
    )
    assert "differs: vm_a, nvram: /a\\x1b[2J, which is /b now" in plan_text(report)
    assert "not kept: vm_a, its tag \\x1b[2J" in plan_text(report)


@made.relaxed
@given(point=made.restore_points)
def test_a_page_can_be_read_on_a_phone_and_says_how_to_restore(point: RestorePoint) -> None:
    named = replace(point, name=BackupName("nightly"), deployment=DeploymentName("shop"))
    page = render_html(replace(REPORT, points=(named,), warnings=("nothing is frozen",)))
    assert '<meta name="viewport"' in page
    assert "Warning: nothing is frozen" in page
    assert "quiesce restore shop -p snapshot_name=nightly" in page
