"""What repositories hold, judged: what belongs into the catalog and what does not."""

from __future__ import annotations

from typing import Any

from quiesce.app.points.rebuild import judge_surveys
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId
from quiesce.model.manifest import Copy, LeftOut, PointManifest, Survey
from quiesce.model.restore_point import Artifact, PointState, RestorePoint

WORTH = {
    "vm": Consistency.CRASH,
    "db": Consistency.APPLICATION,
    "cloud": Consistency.FILESYSTEM,
    "script": Consistency.CRASH,
}


def point(name: str, *on: str, made_at: float = 1.0, execution: str = "backup-1") -> RestorePoint:
    """A full backup of *on*; what is called ``cloud`` has no files."""
    return RestorePoint(
        deployment=DeploymentName("shop"),
        name=BackupName(name),
        full=True,
        type="daily",
        rotation=1,
        execution=ExecutionId(execution),
        state=PointState.COMPLETE,
        consistency=min(WORTH[instance] for instance in on),
        made_at=made_at,
        artifacts=tuple(
            Artifact(
                instance=InstanceId(instance),
                provider="host",
                function="f",
                state=PointState.COMPLETE,
                consistency=WORTH[instance],
                content={} if instance == "cloud" else {"files": []},
            )
            for instance in on
        ),
    )


def copy(name: str, instance: str, execution: str = "backup-1") -> Copy:
    """A copy that is there."""
    return Copy(point=BackupName(name), instance=InstanceId(instance), execution=ExecutionId(execution))


def survey(*points: RestorePoint, copies: tuple[Copy, ...] = (), **more: Any) -> Survey:
    """A repository with these."""
    manifests = tuple(PointManifest(point=each, instances={}) for each in points)
    return Survey(directory="/r", manifests=manifests, copies=frozenset(copies), **more)


def judge(*surveys: Survey, known: tuple[str, ...] = ()) -> Any:
    """Judge them for a deployment that has every instance."""
    instances = [InstanceId(name) for name in WORTH]
    names = [BackupName(name) for name in known]
    return judge_surveys(surveys, names, instances=instances, keeping=[i for i in instances if i != "script"])


def test_what_is_whole_is_added_oldest_first() -> None:
    new, old = point("new", "vm", made_at=9.0), point("old", "vm")
    rebuilt = judge(survey(new, old, copies=(copy("new", "vm"), copy("old", "vm"))))
    assert rebuilt.added == (old, new)
    assert rebuilt.left_out == ()


def test_a_copy_may_lie_in_another_repository_than_the_manifest() -> None:
    whole = point("one", "vm", "db")
    here, there = (copy("one", "vm"),), (copy("one", "db"),)
    assert judge(survey(whole, copies=here), survey(whole, copies=there)).added == (whole,)


def test_what_has_no_files_needs_no_copy() -> None:
    whole = point("one", "cloud")
    assert judge(survey(whole)).added == (whole,)


def test_what_is_kept_nobody_knows_where_needs_no_copy() -> None:
    whole = point("one", "script")
    assert judge(survey(whole)).added == (whole,)


def test_what_lacks_a_copy_is_partial_and_worth_what_the_rest_is_worth() -> None:
    rebuilt = judge(survey(point("one", "vm", "db"), copies=(copy("one", "db"),)))
    (added,) = rebuilt.added
    assert (added.state, added.consistency) == (PointState.PARTIAL, Consistency.APPLICATION)
    assert [artifact.instance for artifact in added.artifacts] == ["db"]
    assert [(each.path, each.damaged) for each in rebuilt.left_out] == [("vm of one", True)]


def test_a_copy_that_another_execution_made_does_not_count() -> None:
    assert judge(survey(point("one", "vm"), copies=(copy("one", "vm", "backup-2"),))).added == ()


def test_copies_without_a_manifest_of_the_whole_are_incomplete() -> None:
    rebuilt = judge(survey(copies=(copy("one", "vm"),)))
    assert rebuilt.added == ()
    assert [each.path for each in rebuilt.left_out] == ["vm of one"]


def test_of_two_manifests_the_one_that_promises_less_counts() -> None:
    less = point("one", "db")
    copies = (copy("one", "vm"), copy("one", "db"))
    assert judge(survey(point("one", "vm", "db"), copies=copies), survey(less)).added == (less,)


def test_what_the_catalog_knows_is_not_touched() -> None:
    rebuilt = judge(survey(point("one", "vm"), copies=(copy("one", "vm"),)), known=("one",))
    assert (rebuilt.added, rebuilt.known, rebuilt.left_out) == ((), ("one",), ())


def test_what_was_left_out_before_stays_left_out() -> None:
    found = LeftOut(path="p", reason="damaged", damaged=True)
    assert judge(survey(left_out=(found,))).left_out == (found,)
