"""The contract of `quiesce.ports.Provider`, as tests.

Subclass `ProviderContract` in a test module and override the fixture ``subject``; a `Subject` is one
instance (real, simulated or faked) that the suite may do anything to. Methods of `Subject` that raise
`NotImplementedError` mean "this kind of node has nothing like it", and skip the tests that need them by
name; so do operations that `Subject.operations` leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from quiesce.backups import BackupHome, BackupKey, Backups
from quiesce.errors import ForeignObjectError, OperationTimeoutError, ProviderError, UnsupportedError
from quiesce.model.call import Call
from quiesce.model.capabilities import Capabilities
from quiesce.model.former_state import Side
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json, NodeId, StepId
from quiesce.model.operation import INTERFACES, SNAPSHOT_CREATE, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node
from quiesce.ports import FormerStateKeeper, Provider, RepositoryUser, TargetInspector
from quiesce.testing.contexts import RecordingContext

T = TypeVar("T")

_INTERFACE_OF = {operation: interface for interface, operation in reversed(INTERFACES.items())} | {
    Operation.COPY: SNAPSHOT_CREATE
}


class Subject:
    """One instance under test, with eyes and hands of its own beside the provider's."""

    #: what the suite may ask for; COPY only where the capabilities have it
    operations: frozenset[Operation] = frozenset(Operation)
    #: which of snapshot (False) and backup (True) this kind of node has
    modes: tuple[bool, ...] = (False, True)
    capabilities: Capabilities = Capabilities()
    #: the description's name, where the provider has options; empty: it has none
    provider_name = ""
    node_type = "cloudify.nodes.Root"
    properties: Mapping[str, Json] = {}
    instance = "node_ab12cd"
    #: how long one operation may take here, in seconds
    timeout_s = 60.0
    #: a node-side timer that is short, but not too short for this platform, in seconds
    short_timer_s = 1.0

    def provider(self) -> Provider:
        """Return a provider as a new process would have it."""
        raise NotImplementedError

    def write(self, token: str) -> None:
        """Change the instance's state so that `read` gives *token*."""
        raise NotImplementedError

    def read(self) -> str:
        """Return the token that the instance's state holds now."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Tell whether it is frozen, seen from outside the provider."""
        raise NotImplementedError

    def suspended(self) -> bool:
        """Tell whether it is suspended, seen from outside the provider."""
        raise NotImplementedError

    def running(self) -> bool:
        """Tell whether it runs, seen from outside the provider."""
        raise NotImplementedError

    def home(self) -> BackupHome:
        """Return what opens the repository that backups go to."""
        raise NotImplementedError

    def objects(self) -> frozenset[str]:
        """Return every object on the platform and in the repository that could leak."""
        raise NotImplementedError

    def plant_foreign(self, point: str, *, full: bool) -> None:
        """Make an object of the name that *point* needs, not marked as ours."""
        raise NotImplementedError

    def lose_answer(self, operation: Operation) -> None:
        """Let the next *operation* have its effect and then time out."""
        raise NotImplementedError

    def pass_time(self, seconds: float) -> None:
        """Let the platform's time pass (sleep, or move a fake clock)."""
        raise NotImplementedError

    def call(self, operation: Operation, **changes: object) -> Call:
        """Return the call that an engine would make; keyword arguments replace fields."""
        node = Node(
            id=NodeId("node"),
            type=self.node_type,
            type_hierarchy=("cloudify.nodes.Root", self.node_type),
            properties=self.properties,
        )
        interface = _INTERFACE_OF[operation]
        fields: dict[str, object] = {
            "operation": operation,
            "interface": interface,
            "function": "",
            "deployment": DeploymentName("contract"),
            "execution": ExecutionId("exec1"),
            "step": StepId(f"{self.instance}.{operation}"),
            "attempt": 1,
            "instance": InstanceId(self.instance),
            "node": node,
            "properties": self.properties,
            "parameters": Parameters(),
            "point": BackupName("one"),
            "full": False,
        }
        return Call(**(fields | changes))  # type: ignore[arg-type]


class ProviderContract:
    """What every provider must do. See the module's docstring for how to use it."""

    @pytest.fixture
    def subject(self) -> Iterator[Subject] | Subject:
        """Return the instance under test; to be overridden."""
        raise NotImplementedError("override the fixture 'subject'")

    # -- freeze and thaw --------------------------------------------------------------------------------

    def test_a_frozen_instance_is_frozen_and_a_thawed_one_is_not(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.FREEZE)
        _perform(subject, provider, Operation.FREEZE)
        assert _or_skip(subject.frozen)
        assert provider.is_frozen(subject.call(Operation.FREEZE), _context(subject)) in (True, None)
        _perform(subject, provider, Operation.THAW)
        assert not subject.frozen()
        assert provider.is_frozen(subject.call(Operation.FREEZE), _context(subject)) in (False, None)

    def test_freezing_twice_is_freezing_once(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.FREEZE)
        _perform(subject, provider, Operation.FREEZE)
        _perform(subject, provider, Operation.FREEZE)
        assert _or_skip(subject.frozen)
        _perform(subject, provider, Operation.THAW)
        assert not subject.frozen()

    def test_thawing_what_is_not_frozen_is_fine(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.FREEZE)
        _perform(subject, provider, Operation.THAW)
        _perform(subject, provider, Operation.THAW)
        assert not _or_skip(subject.frozen)

    def test_another_process_can_thaw(self, subject: Subject) -> None:
        _perform(subject, _needs(subject, Operation.FREEZE), Operation.FREEZE)
        assert _or_skip(subject.frozen)
        _perform(subject, subject.provider(), Operation.THAW)
        assert not subject.frozen()

    def test_an_unconfirmed_freeze_can_be_thawed(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.FREEZE)
        _lose(subject, Operation.FREEZE)
        with pytest.raises(OperationTimeoutError):
            _perform(subject, provider, Operation.FREEZE)
        _perform(subject, provider, Operation.THAW)
        assert not _or_skip(subject.frozen)

    def test_an_unconfirmed_thaw_can_be_repeated(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.FREEZE)
        _perform(subject, provider, Operation.FREEZE)
        _lose(subject, Operation.THAW)
        with suppress(ProviderError):
            _perform(subject, provider, Operation.THAW)
        _perform(subject, provider, Operation.THAW)
        assert not _or_skip(subject.frozen)

    def test_the_node_thaws_itself_when_nobody_does(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.FREEZE)
        if not subject.capabilities.self_thaw:
            pytest.skip("this kind of node has no timer of its own")
        _perform(subject, provider, Operation.FREEZE, thaw_after_s=subject.short_timer_s)
        _or_skip(lambda: subject.pass_time(subject.short_timer_s * 2))
        assert not _or_skip(subject.frozen)
        _perform(subject, provider, Operation.THAW)

    def test_a_thaw_disarms_the_timer(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.FREEZE)
        if not subject.capabilities.self_thaw:
            pytest.skip("this kind of node has no timer of its own")
        _perform(subject, provider, Operation.FREEZE, thaw_after_s=subject.short_timer_s)
        _perform(subject, provider, Operation.THAW)
        _perform(subject, provider, Operation.FREEZE, thaw_after_s=subject.short_timer_s * 30)
        _or_skip(lambda: subject.pass_time(subject.short_timer_s * 2))
        still_frozen = _or_skip(subject.frozen)
        _perform(subject, provider, Operation.THAW)
        assert still_frozen

    # -- the way back from a restore, and beside it ------------------------------------------------------

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_a_restore_is_undone_and_that_is_undone(self, subject: Subject, full: bool) -> None:
        provider = _needs_undo(subject, full)
        _or_skip(lambda: subject.write("before"))
        artifact = _make(subject, provider, full=full)
        subject.write("after")
        _perform(subject, provider, Operation.APPLY, full=full, artifact=artifact)
        _perform(subject, provider, Operation.CONFIRM, full=full)
        subject.write("later")
        for to, state in ((Side.FORMER, "after"), (Side.RESTORED, "later"), (Side.FORMER, "after")):
            for _ in range(2):
                _perform(subject, subject.provider(), Operation.REVERT, parameters=Parameters(undo_to=to))
                assert subject.read() == state

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_an_unconfirmed_restore_keeps_the_first_state_that_was_replaced(
        self, subject: Subject, full: bool
    ) -> None:
        provider = _needs_undo(subject, full)
        _or_skip(lambda: subject.write("before"))
        artifact = _make(subject, provider, full=full)
        subject.write("after")
        _lose(subject, Operation.APPLY)
        with pytest.raises(OperationTimeoutError):
            _perform(subject, provider, Operation.APPLY, full=full, artifact=artifact)
        _perform(subject, subject.provider(), Operation.APPLY, full=full, artifact=artifact)
        _perform(subject, subject.provider(), Operation.REVERT, parameters=Parameters(undo_to=Side.FORMER))
        assert subject.read() == "after"

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_what_is_forgotten_leaves_nothing_behind(self, subject: Subject, full: bool) -> None:
        provider = _needs_undo(subject, full)
        _or_skip(lambda: subject.write("before"))
        artifact = _make(subject, provider, full=full)
        made = _or_skip(subject.objects)
        subject.write("after")
        _perform(subject, provider, Operation.APPLY, full=full, artifact=artifact)
        for _ in range(2):
            forgetting = Parameters(keep_undo_s=0)
            _perform(subject, subject.provider(), Operation.CONFIRM, parameters=forgetting)
            assert subject.objects() == made
        with pytest.raises(ProviderError):
            _perform(subject, provider, Operation.REVERT, parameters=Parameters(undo_to=Side.FORMER))
        assert subject.read() == "before"

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_extracting_touches_nothing_but_its_target(
        self, subject: Subject, full: bool, tmp_path: Path
    ) -> None:
        provider = _needs_mode(subject, full)
        if not _has(subject, Operation.EXTRACT) or not isinstance(provider, TargetInspector):
            pytest.skip("this kind of node is not extracted, or by the blueprint's own means")
        _or_skip(lambda: subject.write("before"))
        artifact = _make(subject, provider, full=full)
        subject.write("after")
        made = _or_skip(subject.objects)
        target = Parameters(target=str(tmp_path / "target"))
        for _ in range(2):
            _perform(
                subject,
                subject.provider(),
                Operation.EXTRACT,
                full=full,
                artifact=artifact,
                parameters=target,
            )
        assert subject.read() == "after"
        assert subject.objects() == made

    # -- stop, start and probe --------------------------------------------------------------------------

    def test_stop_and_start_may_each_run_twice(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.STOP)
        assert _or_skip(subject.running)
        for _ in range(2):
            _perform(subject, provider, Operation.STOP)
            assert not subject.running()
        for _ in range(2):
            _perform(subject, provider, Operation.START)
            assert subject.running()

    def test_another_process_can_start_what_this_one_has_stopped(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.STOP)
        assert _or_skip(subject.running)
        _perform(subject, provider, Operation.STOP)
        assert not subject.running()
        _perform(subject, subject.provider(), Operation.START)
        assert subject.running()

    def test_an_unconfirmed_stop_can_be_brought_to_its_end_and_started(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.STOP)
        assert _or_skip(subject.running)
        _lose(subject, Operation.STOP)
        with pytest.raises(ProviderError):
            _perform(subject, provider, Operation.STOP)
        for operation in (Operation.STOP, Operation.START):
            _perform(subject, provider, operation)
        assert subject.running()

    def test_what_runs_answers_and_what_is_stopped_does_not(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.PROBE)
        _needs(subject, Operation.STOP)
        assert _or_skip(subject.running)
        _perform(subject, provider, Operation.PROBE)
        _perform(subject, provider, Operation.STOP)
        with pytest.raises(ProviderError):
            provider.perform(subject.call(Operation.PROBE), RecordingContext(timeout_s=0.5))
        _perform(subject, provider, Operation.START)
        _perform(subject, provider, Operation.PROBE)

    def test_a_start_changes_nothing_where_no_restore_has_switched_anything_off(
        self, subject: Subject
    ) -> None:
        provider = _needs(subject, Operation.START)
        if not subject.capabilities.switches_off:
            pytest.skip("this kind of node has a stop of its own")
        _or_skip(lambda: subject.write("before"))
        before = _or_skip(subject.objects)
        for _ in range(2):
            _perform(subject, provider, Operation.START)
        assert (subject.read(), subject.objects()) == ("before", before)

    # -- suspend and resume -----------------------------------------------------------------------------

    def test_suspend_and_resume_may_each_run_twice(self, subject: Subject) -> None:
        provider = _needs(subject, Operation.SUSPEND)
        for _ in range(2):
            _perform(subject, provider, Operation.SUSPEND)
            assert _or_skip(subject.suspended)
        for _ in range(2):
            _perform(subject, provider, Operation.RESUME)
            assert not subject.suspended()

    # -- snapshot, copy, apply, delete ------------------------------------------------------------------

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_applying_brings_back_the_state_at_the_cut(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        _or_skip(lambda: subject.write("before"))
        artifact = _make(subject, provider, full=full)
        subject.write("after")
        _perform(subject, provider, Operation.APPLY, full=full, artifact=artifact)
        assert subject.read() == "before"

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_what_is_written_after_the_cut_is_not_in_it(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        _or_skip(lambda: subject.write("before"))
        cut = _perform(subject, provider, Operation.SNAPSHOT, full=full)
        subject.write("between")
        artifact = _copied(subject, provider, cut, full=full)
        subject.write("after")
        _perform(subject, provider, Operation.APPLY, full=full, artifact=artifact)
        assert subject.read() == "before"

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_making_it_twice_is_making_it_once(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        _make(subject, provider, full=full)
        once = _or_skip(subject.objects)
        _make(subject, subject.provider(), full=full)
        assert subject.objects() == once

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_applying_twice_is_applying_once(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        _or_skip(lambda: subject.write("before"))
        artifact = _make(subject, provider, full=full)
        for token in ("after", "later"):
            subject.write(token)
            _perform(subject, provider, Operation.APPLY, full=full, artifact=artifact)
            assert subject.read() == "before"

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_deleting_leaves_nothing_behind(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        before = _or_skip(subject.objects)
        artifact = _make(subject, provider, full=full)
        assert subject.objects() != before
        for _ in range(2):
            _perform(subject, provider, Operation.DELETE, full=full, artifact=artifact)
            assert subject.objects() == before

    def test_a_backup_of_files_is_complete_in_the_repository_that_the_provider_names(
        self, subject: Subject
    ) -> None:
        provider = _needs_mode(subject, True)
        _or_skip(lambda: subject.write("before"))
        artifact = _make(subject, provider, full=True)
        if not isinstance(provider, RepositoryUser) or "files" not in artifact:
            pytest.skip("this kind of node keeps no files in a repository")
        call = subject.call(Operation.MEASURE)
        place = BackupKey(
            deployment=call.deployment, point=call.point or BackupName(""), instance=call.instance
        )
        repository = Backups(provider.repository(call), subject.home())
        assert repository.manifest(place, known=artifact).execution == call.execution

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_a_half_made_one_is_deleted_by_its_name(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        before = _or_skip(subject.objects)
        _perform(subject, provider, Operation.SNAPSHOT, full=full)
        for _ in range(2):
            _perform(subject, subject.provider(), Operation.DELETE, full=full, undo=True)
            assert subject.objects() == before

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_an_unconfirmed_cut_is_found_again(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        before = _or_skip(subject.objects)
        _lose(subject, Operation.SNAPSHOT)
        with pytest.raises(OperationTimeoutError):
            _perform(subject, provider, Operation.SNAPSHOT, full=full)
        artifact = _make(subject, provider, full=full)
        _perform(subject, provider, Operation.DELETE, full=full, artifact=artifact)
        assert subject.objects() == before

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_deleting_one_leaves_the_other_restorable(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        _or_skip(lambda: subject.write("first"))
        first = _make(subject, provider, full=full)
        subject.write("second")
        second = _make(subject, provider, full=full, point=BackupName("two"), execution=ExecutionId("exec2"))
        _perform(subject, provider, Operation.DELETE, full=full, artifact=first)
        subject.write("third")
        _perform(subject, provider, Operation.APPLY, full=full, artifact=second, point=BackupName("two"))
        assert subject.read() == "second"

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_somebody_elses_object_is_never_touched(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        _or_skip(lambda: subject.plant_foreign("one", full=full))
        before = _or_skip(subject.objects)
        with pytest.raises(ForeignObjectError):
            _make(subject, provider, full=full)
        _perform(subject, provider, Operation.DELETE, full=full)
        assert subject.objects() == before

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_an_undo_never_removes_what_another_execution_made(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        artifact = _make(subject, provider, full=full)
        before = _or_skip(subject.objects)
        other = ExecutionId("exec2")
        with pytest.raises(ForeignObjectError):
            _make(subject, provider, full=full, execution=other)
        _perform(subject, provider, Operation.DELETE, full=full, execution=other, undo=True)
        assert subject.objects() == before
        _perform(subject, provider, Operation.DELETE, full=full, execution=other, artifact=artifact)

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_applying_what_is_not_there_is_a_clear_error(self, subject: Subject, full: bool) -> None:
        provider = _needs_mode(subject, full)
        artifact = _make(subject, provider, full=full)
        _perform(subject, provider, Operation.DELETE, full=full, artifact=artifact)
        with pytest.raises(ProviderError) as caught:
            _perform(subject, provider, Operation.APPLY, full=full, artifact=artifact)
        assert not caught.value.retryable

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_an_artifact_is_plain_data(self, subject: Subject, full: bool) -> None:
        artifact = _make(subject, _needs_mode(subject, full), full=full)
        assert json.loads(json.dumps(artifact)) == artifact

    # -- what is refused --------------------------------------------------------------------------------

    @pytest.mark.parametrize("operation", list(Operation))
    def test_an_operation_that_is_not_declared_is_refused(
        self, subject: Subject, operation: Operation
    ) -> None:
        declared = subject.capabilities.operations
        if not declared or operation in declared:
            pytest.skip(f"{operation} is not left out by this kind of node")
        with pytest.raises(UnsupportedError):
            _perform(subject, subject.provider(), operation)

    def test_an_unknown_option_is_refused_by_its_name(self, subject: Subject) -> None:
        if not subject.provider_name:
            pytest.skip("this provider has no options")
        planted = {f"{subject.provider_name}_no_such_option": True}
        operation = min(subject.capabilities.operations)
        with pytest.raises(ProviderError, match="no_such_option") as caught:
            _perform(subject, subject.provider(), operation, inputs=planted)
        assert not caught.value.retryable

    # -- statistics -------------------------------------------------------------------------------------

    def test_measuring_gives_figures(self, subject: Subject) -> None:
        outcome = _perform(subject, _needs(subject, Operation.MEASURE), Operation.MEASURE)
        assert outcome.measurements
        assert json.loads(json.dumps(outcome.measurements)) == outcome.measurements


def _needs(subject: Subject, operation: Operation) -> Provider:
    if operation not in subject.operations:
        pytest.skip(f"this kind of node has no {operation}")
    return subject.provider()


def _needs_undo(subject: Subject, full: bool) -> Provider:
    provider = _needs_mode(subject, full)
    if not _has(subject, Operation.REVERT) or not isinstance(provider, FormerStateKeeper):
        pytest.skip("this kind of node keeps nothing of what it replaces, or by the blueprint's own means")
    return provider


def _has(subject: Subject, operation: Operation) -> bool:
    return operation in subject.operations & subject.capabilities.operations


def _needs_mode(subject: Subject, full: bool) -> Provider:
    if full not in subject.modes:
        pytest.skip(f"this kind of node has no {'backup' if full else 'snapshot'}")
    return _needs(subject, Operation.SNAPSHOT)


def _make(subject: Subject, provider: Provider, *, full: bool, **changes: object) -> Mapping[str, Json]:
    cut = _perform(subject, provider, Operation.SNAPSHOT, full=full, **changes)
    return _copied(subject, provider, cut, full=full, **changes)


def _copied(
    subject: Subject, provider: Provider, cut: Outcome, *, full: bool, **changes: object
) -> Mapping[str, Json]:
    artifact = cut.artifact
    if subject.capabilities.copies_backups if full else subject.capabilities.copies_snapshots:
        copy = _perform(subject, provider, Operation.COPY, full=full, artifact=artifact, **changes)
        artifact = copy.artifact or artifact
    assert artifact is not None, "SNAPSHOT must answer with an artifact"
    return artifact


def _perform(subject: Subject, provider: Provider, operation: Operation, **changes: object) -> Outcome:
    return provider.perform(subject.call(operation, **changes), _context(subject))


def _context(subject: Subject) -> RecordingContext:
    return RecordingContext(timeout_s=subject.timeout_s)


def _lose(subject: Subject, operation: Operation) -> None:
    _or_skip(lambda: subject.lose_answer(operation))


def _or_skip(action: Callable[[], T]) -> T:
    try:
        return action()
    except NotImplementedError:
        pytest.skip("this kind of node has nothing like it")
