"""A program is never paused before a freeze that waits for what it has begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from quiesce.model.ids import InstanceId
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE, Operation
from quiesce.model.plan import Plan, Step
from quiesce.providers import host, redis

from .made import SCRIPT, node, topology
from .made import planned as plan

KINDS = {
    "paused": host.PAUSED_PROCESS,
    "database": host.SQLITE,
    "disk": host.FILE_SYSTEM,
    "directory": host.DIRECTORY,
    "script": "made.Node",
}


FREEZES = node("any", operations=(FS_PREPARE, FS_FINALIZE)).operations


def planned(kinds: Mapping[str, str], links: Mapping[str, Sequence[str]]) -> Plan:
    nodes = [
        node(name, kind=KINDS[kind], operations=(FS_PREPARE, FS_FINALIZE) if kind == "script" else ())
        for name, kind in {**kinds, "saved": "directory"}.items()
    ]
    return plan("backup", topology(nodes, links), descriptions=[host.DESCRIPTION, SCRIPT])


def before(plan: Plan) -> dict[InstanceId, frozenset[InstanceId]]:
    """Whose freeze is certainly over when one's own begins; fails on a circle."""
    freezes = {step.id: step for step in plan.steps if step.operation is Operation.FREEZE}
    found: dict[InstanceId, frozenset[InstanceId]] = {}

    def all_before(step: Step, path: tuple[str, ...] = ()) -> frozenset[InstanceId]:
        assert step.id not in path, "the freezes wait for one another"
        direct = [freezes[name] for name in step.after]
        found[step.instance] = frozenset(s.instance for s in direct).union(
            *(all_before(s, (*path, step.id)) for s in direct)
        )
        return found[step.instance]

    for step in freezes.values():
        all_before(step)
    return found


def test_the_lock_is_taken_before_its_users_are_paused() -> None:
    """The blueprint says connected_to, and the program may be in the middle of a transaction."""
    order = before(planned({"web": "paused", "db": "database"}, {"web": ["db"]}))
    assert order == {"web_1": {"db_1"}, "db_1": frozenset()}


def test_so_it_is_without_a_relationship() -> None:
    """Nobody has said that they belong together."""
    assert before(planned({"web": "paused", "db": "database"}, {}))["web_1"] == {"db_1"}


def test_a_file_system_is_frozen_after_those_that_write_to_it_are_paused() -> None:
    """What waits for a frozen file system cannot be paused any more."""
    kinds = {"web": "paused", "db": "database", "disk": "disk"}
    order = before(planned(kinds, {"web": ["db", "disk"], "db": ["disk"]}))
    assert order == {"db_1": frozenset(), "web_1": {"db_1"}, "disk_1": {"db_1", "web_1"}}


def test_a_hook_that_may_wait_in_vain_is_named() -> None:
    """What a script waits for nobody knows; the plan says what could go wrong."""
    made = planned({"web": "paused", "db": "script"}, {"web": ["db"]})
    assert any("web_1 is paused before fs_prepare of db_1 runs" in warning for warning in made.warnings)
    assert planned({"web": "paused", "db": "script"}, {}).warnings == ()


def test_a_server_that_a_provider_holds_waits_for_nobody() -> None:
    """Its type brings the freeze, and it is known what that does: nothing to be warned of."""
    made = {name: replace(each, function="quiesce.redis.freeze") for name, each in FREEZES.items()}
    nodes = [
        node("web", kind=host.PAUSED_PROCESS, operations=()),
        replace(node("sessions", kind=redis.SERVER), operations=made),
        node("saved", kind=host.DIRECTORY),
    ]
    links = {"web": ["sessions"]}
    descriptions = [host.DESCRIPTION, redis.DESCRIPTION, SCRIPT]
    assert plan("backup", topology(nodes, links), descriptions=descriptions).warnings == ()


def test_so_is_one_of_the_machine_that_it_runs_on() -> None:
    """Machines are frozen after all services: a script there waits for whom it finds paused, too."""
    machine = node("vm", compute=True, operations=(FS_PREPARE, FS_FINALIZE))
    nodes = [
        node("web", kind=host.PAUSED_PROCESS, operations=()),
        machine,
        node("saved", kind=host.DIRECTORY),
    ]
    made = plan("backup", topology(nodes, {"web": ["vm"]}), descriptions=[host.DESCRIPTION, SCRIPT])
    assert any("web_1 is paused before fs_prepare of vm_1 runs" in warning for warning in made.warnings)


@given(
    st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8),
    st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20),
)
def test_no_order_is_a_circle(kinds: list[str], pairs: set[tuple[int, int]]) -> None:
    """Whatever depends on whatever, all databases come before all pauses, and nobody waits for ever."""
    links: dict[str, list[str]] = {}
    for user, used in sorted(pairs):
        if used < user < len(kinds):
            links.setdefault(f"n{user}", []).append(f"n{used}")
    order = before(planned({f"n{n}": kind for n, kind in enumerate(kinds)}, links))
    databases = {f"n{n}_1" for n, kind in enumerate(kinds) if kind == "database"}
    for n, kind in enumerate(kinds):
        if kind == "paused":
            assert databases <= order[InstanceId(f"n{n}_1")]
