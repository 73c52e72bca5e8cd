"""What must hold when an execution is over, wherever the power was cut on the way."""

from __future__ import annotations

from quiesce.model.former_state import Side
from quiesce.model.operation import INDEBTING, REPLACING, Operation
from quiesce.model.records import Ending
from quiesce.model.restore_point import PointState, RestorePoint
from tests.crash.scenes import POINT, Scene


def check(scene: Scene, *, lies: bool = False) -> None:
    """Assert every invariant on *scene*, whose last process has ended its execution."""
    history = scene.history()
    assert scene.world.frozen == set(), "something stayed frozen"
    assert scene.world.stopped == set(), "something was left stopped"
    assert scene.world.prepared == set() or scene.stubborn, "what was prepared was left behind"
    assert scene.world.timers == {}, "a node-side timer was left armed"
    assert history.debts(scene.plan) == [], "a thaw or a start is still owed"
    assert history.ended is not None, "the execution was lost"
    assert scene.world.things["theirs"].content == "theirs", "somebody else's object was touched"
    _CHECKS.get(scene.workflow, _check_nothing_changed)(scene, lies)


def _check_backup(scene: Scene, lies: bool) -> None:
    history, ours = scene.history(), scene.our_things()
    _check_prepared_outside(scene)
    (point,) = scene.made()
    if history.ended is not None and history.ended.ending is Ending.COMPLETED:
        assert point.state is PointState.COMPLETE
        if not lies:
            assert {thing.instance for thing in ours.values()} == set(scene.topology.instances)
            assert all(thing.complete for thing in ours.values()), "a completed backup has incomplete pieces"
            assert len({thing.content for thing in ours.values()}) == 1, "cuts of two times were mixed"
    else:
        _check_undone(scene, point)


def _check_prepared_outside(scene: Scene) -> None:
    """Nothing is prepared while anything is frozen: it may take as long as it wants."""
    frozen: set[str] = set()
    for operation, instance in scene.world.effects:
        assert operation is not Operation.PREPARE or not frozen, "something was prepared within the window"
        if operation is Operation.FREEZE:
            frozen.add(instance)
        elif operation is Operation.THAW:
            frozen.discard(instance)


def _check_undone(scene: Scene, point: RestorePoint) -> None:
    """Nothing is left, unless the platform refused for good to remove it; then the catalog knows of it."""
    left = {thing.instance for thing in scene.our_things().values()}
    assert left <= {artifact.instance for artifact in point.artifacts}, "an object leaked"
    if not scene.stubborn:
        assert left == set(), "something incomplete was left behind"
        assert point.state is PointState.REMOVED, "the catalog knows of objects that are not there"


def _check_restore(scene: Scene, lies: bool) -> None:
    history, contents = scene.history(), scene.world.contents
    if history.ended is not None and history.ended.ending is Ending.COMPLETED:
        assert set(contents.values()) == {"as it was"}, "a completed restore left something as it is"
    if not lies:
        _check_at_rest(scene)
        _check_former(scene)
    replaced = [i for i, content in contents.items() if content == "as it was"]
    (safety,) = scene.made()
    if replaced and not lies:
        assert safety.state is PointState.COMPLETE, "something was replaced and there is no way back"
    applies = [step for step in scene.plan.steps if step.operation is Operation.APPLY]
    if not any(step.id in history.begun_at for step in applies):
        _check_undone(scene, safety)
    for instance in scene.topology.instances:
        assert scene.world.things[f"{instance}-{POINT}"].content == "as it was", "the restore point changed"


def _check_former(scene: Scene) -> None:
    """The first state that was replaced is kept, however often the restore was begun."""
    history = scene.history()
    completed = history.ended is not None and history.ended.ending is Ending.COMPLETED
    everything = set(scene.world.contents.values()) == {"as it was"}
    for instance, content in scene.world.contents.items():
        former = scene.world.former.get(instance)
        if content == "as it was":
            assert former is not None, "something was replaced and is not kept"
            assert former.content.startswith("epoch"), "what a restore had put there is taken for the former"
            assert former.succeeded or not completed, "a restore that has succeeded is not confirmed"
            assert not former.succeeded or everything, "older states go before the restore has succeeded"


def _check_undo(scene: Scene, lies: bool) -> None:
    history, world = scene.history(), scene.world
    if history.ended is not None and history.ended.ending is Ending.COMPLETED:
        assert set(world.contents.values()) == {"before the restore"}, "a completed undo left something"
    for instance, content in world.contents.items():
        former = world.former[instance]
        reverted = former.kept is Side.RESTORED
        assert reverted == (content == "before the restore"), "it is not known which state is kept"
        assert former.content.startswith("epoch") == reverted, "a state was lost"
    if not lies:
        _check_at_rest(scene)


def _check_extract(scene: Scene, lies: bool) -> None:
    history = scene.history()
    if history.ended is not None and history.ended.ending is Ending.COMPLETED:
        assert scene.world.extracted == dict.fromkeys(scene.topology.instances, "as it was")
    assert Operation.FREEZE not in {operation for operation, _ in scene.world.effects}
    _check_nothing_changed(scene, lies)


def _check_forget_undo(scene: Scene, lies: bool) -> None:
    history = scene.history()
    if history.ended is not None and history.ended.ending is Ending.COMPLETED:
        assert scene.world.former == {}
    _check_nothing_changed(scene, lies)


def _check_at_rest(scene: Scene) -> None:
    """Whatever was replaced was at rest at that moment, also when the restore was taken up after a crash.

    What can be stopped was stopped; nothing that was started again has been replaced since.
    """
    resting: dict[str, Operation] = {}
    stoppable = {step.instance for step in scene.plan.steps if step.operation is Operation.STOP}
    for operation, instance in scene.world.effects:
        if operation in INDEBTING:
            resting[instance] = operation
        elif operation in (Operation.THAW, Operation.START):
            resting.pop(instance, None)
        elif operation in REPLACING:
            rest = Operation.STOP if instance in stoppable else Operation.FREEZE
            assert resting.get(instance) is rest, "something was replaced while it ran"
            assert stoppable <= resting.keys(), "something ran while what it depends on was replaced"


def _check_remove_backup(scene: Scene, lies: bool) -> None:
    (point,) = scene.left()
    held = {artifact.instance for artifact in point.artifacts}
    sure = {a.instance for a in point.artifacts if a.state is not PointState.REMOVING}
    there = {thing.instance for name, thing in scene.world.things.items() if name.endswith(f"-{POINT}")}
    assert sure <= there <= held or lies, "the catalog and the platform disagree"
    history = scene.history()
    if history.ended is not None and history.ended.ending is Ending.COMPLETED:
        assert point.state is PointState.REMOVED
        assert there == set()


def _check_suspend(scene: Scene, lies: bool) -> None:
    history = scene.history()
    if history.ended is not None and history.ended.ending is Ending.COMPLETED and not lies:
        assert scene.world.suspended == set(scene.topology.instances)


def _check_nothing_changed(scene: Scene, lies: bool) -> None:
    assert scene.world.suspended == set()
    assert scene.world.things == scene.things_before


#: by workflow; of all others, `_check_nothing_changed` must hold
_CHECKS = {
    "backup": _check_backup,
    "restore": _check_restore,
    "undo_restore": _check_undo,
    "extract": _check_extract,
    "forget_undo": _check_forget_undo,
    "remove_backup": _check_remove_backup,
    "suspend": _check_suspend,
}
