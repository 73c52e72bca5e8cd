"""From a call to the method that answers it: one abstract method for each operation, none forgotten."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, assert_never

from quiesce.errors import DamagedArtifactError, ProviderError, UnsupportedError
from quiesce.model.call import Call
from quiesce.model.capabilities import Description, Kind
from quiesce.model.cut_size import CutSize
from quiesce.model.former_state import FormerState
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.target import NO_OBJECTION, RestoreTarget
from quiesce.ports import Context, Finding

JobT = TypeVar("JobT")


class Operations(ABC, Generic[JobT]):
    """What one kind of node answers, a method for each `Operation`.

    A kind writes ``freeze = unsupported`` for what it cannot do, so that a new operation is noticed by the
    type checker in every provider. *job* is what the provider makes of a call: see `DispatchingProvider.job`.
    """

    @abstractmethod
    def prepare(self, job: JobT, /) -> Outcome:
        """Do before the window what would make it longer; what this leaves is removed by DELETE."""

    @abstractmethod
    def freeze(self, job: JobT, /) -> Outcome:
        """Stop writes and flush; arm the node's own timer first where `Capabilities.self_thaw` says so."""

    @abstractmethod
    def thaw(self, job: JobT, /) -> Outcome:
        """Let writes go on; return when the node is known to be thawed."""

    @abstractmethod
    def suspend(self, job: JobT, /) -> Outcome:
        """Stop the processors, memory kept."""

    @abstractmethod
    def resume(self, job: JobT, /) -> Outcome:
        """Let a suspended node go on."""

    @abstractmethod
    def snapshot(self, job: JobT, /) -> Outcome:
        """Return when the point in time is fixed."""

    @abstractmethod
    def copy(self, job: JobT, /) -> Outcome:
        """Move the data of a finished cut."""

    @abstractmethod
    def apply(self, job: JobT, /) -> Outcome:
        """Put the instance back to a restore point."""

    @abstractmethod
    def delete(self, job: JobT, /) -> Outcome:
        """Remove what snapshot and copy made, finished or half-made."""

    @abstractmethod
    def revert(self, job: JobT, /) -> Outcome:
        """Put the instance back to the state that a restore replaced, or forth again."""

    @abstractmethod
    def confirm(self, job: JobT, /) -> Outcome:
        """Keep what a restore that has succeeded replaced, and let go of older such states."""

    @abstractmethod
    def extract(self, job: JobT, /) -> Outcome:
        """Write what a restore point holds of the instance below a directory; the instance is not touched."""

    @abstractmethod
    def stop(self, job: JobT, /) -> Outcome:
        """End what runs; what is stopped already is stopped."""

    @abstractmethod
    def start(self, job: JobT, /) -> Outcome:
        """Let it run, after whatever of its stop is still on its way; what runs already runs."""

    @abstractmethod
    def probe(self, job: JobT, /) -> Outcome:
        """Return when it answers; raise when it does not within the call's time."""

    @abstractmethod
    def verify(self, job: JobT, /) -> Proof | None:
        """Check what is stored of the call's restore point; None: nothing can without restoring it."""

    @abstractmethod
    def measure(self, job: JobT, /) -> Outcome:
        """Return figures."""

    def is_frozen(self, job: JobT, /) -> bool | None:
        """Tell whether the instance is frozen now; None when that cannot be known."""
        return None


class CheckedOperations(Operations[JobT]):
    """Operations of a kind that can be looked at without being changed."""

    @abstractmethod
    def doctor(self, job: JobT, /) -> Sequence[Finding]:
        """Return every check made, passed or not."""

    @abstractmethod
    def verify(self, job: JobT, /) -> Proof:
        """Check what is stored of the call's restore point."""

    def inspect_target(self, job: JobT, /) -> RestoreTarget:
        """Look at what the job's APPLY, REVERT or EXTRACT would replace, or write to."""
        return NO_OBJECTION

    def cut_size(self, job: JobT, /) -> CutSize | None:
        """Count what the job's SNAPSHOT has to take; None: it grows with nothing."""
        return None

    def former_state(self, job: JobT, /) -> FormerState | None:
        """Tell what is kept of what restores have replaced; None: nothing, or it cannot be undone."""
        return None


def unsupported(operations: Operations[Any], job: Any, /) -> Outcome:
    """Stand for an operation that a kind does not have.

    Planning refuses it before anything is touched; here it is refused for whoever calls all the same.
    """
    raise UnsupportedError(
        f"{type(operations).__name__} cannot do this", hint="Remove this operation from the blueprint."
    )


def nothing_stored(operations: Operations[Any], job: Any, /) -> Proof:
    """Stand for the verification of a kind that keeps nothing."""
    raise UnsupportedError(f"{type(operations).__name__} keeps nothing that could be verified")


def perform(  # noqa: C901, PLR0912, PLR0915  one line for each operation
    operations: Operations[JobT], operation: Operation, job: JobT
) -> Outcome:
    """Return what *operations* answers."""
    match operation:
        case Operation.PREPARE:
            method = operations.prepare
        case Operation.FREEZE:
            method = operations.freeze
        case Operation.THAW:
            method = operations.thaw
        case Operation.SUSPEND:
            method = operations.suspend
        case Operation.RESUME:
            method = operations.resume
        case Operation.SNAPSHOT:
            method = operations.snapshot
        case Operation.COPY:
            method = operations.copy
        case Operation.APPLY:
            method = operations.apply
        case Operation.DELETE:
            method = operations.delete
        case Operation.REVERT:
            method = operations.revert
        case Operation.CONFIRM:
            method = operations.confirm
        case Operation.EXTRACT:
            method = operations.extract
        case Operation.STOP:
            method = operations.stop
        case Operation.START:
            method = operations.start
        case Operation.PROBE:
            method = operations.probe
        case Operation.VERIFY:
            return _verified(operations.verify(job))
        case Operation.MEASURE:
            method = operations.measure
        case unknown:
            assert_never(unknown)
    return method(job)


def _verified(found: Proof | None) -> Outcome:
    if found is not None and not found.passed:
        raise DamagedArtifactError(found.detail)
    return Outcome(result=None if found is None else found.detail)


class DispatchingProvider(ABC, Generic[JobT]):
    """Answers the port `Provider` by one `Operations` for each kind of its description."""

    def __init__(self, description: Description, operations: Mapping[str, Operations[JobT]]) -> None:
        """Take the operations by the names of the description's kinds.

        Raises:
            LookupError: when a kind has none, or one is of no kind.
        """
        names = {kind.name for kind in description.kinds}
        if names != operations.keys():
            raise LookupError(f"{description.name}: kinds {sorted(names)}, operations {sorted(operations)}")
        self._description = description
        self._operations = operations

    @abstractmethod
    def job(self, call: Call, context: Context) -> JobT:
        """Return what every operation needs to know about *call*, read once."""

    @abstractmethod
    def close(self) -> None:
        """Give connections back."""

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there.

        Raises:
            UnsupportedError: when the kind of node has no such operation; nothing was touched.
        """
        return perform(self._able(call), call.operation, self.job(call, context))

    def answer(self, call: Call, job: JobT) -> Outcome:
        """Do the same where *job* is made already."""
        return perform(self._able(call), call.operation, job)

    def _able(self, call: Call) -> Operations[JobT]:
        """Return who answers for the call's kind of node, when that can do what is asked."""
        kind = self.kind_of(call)
        if call.operation not in kind.capabilities.operations:
            raise UnsupportedError(
                f"{call.operation} is nothing that a {kind.name} of {self._description.name} can do",
                hint="Remove this operation from the blueprint, or bind a script of your own to it.",
            )
        return self._operations[kind.name]

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell whether the call's instance is frozen now; None when that cannot be known."""
        return self._operations[self.kind_of(call).name].is_frozen(self.job(call, context))

    def kind_of(self, call: Call) -> Kind:
        """Return which kind of node the call is about.

        Raises:
            UnsupportedError: when it is none of this provider's.
        """
        kind = self._description.kind_of(call.function, call.node)
        if kind is None:
            types = sorted(name for each in self._description.kinds for name in each.types)
            raise UnsupportedError(
                f"{call.instance} is a {call.node.type}, which is nothing of {self._description.name}",
                hint=f"Derive its type from one of {', '.join(types)}.",
            )
        return kind


class PlatformProvider(DispatchingProvider[JobT]):
    """A provider whose nodes can also be examined, and whose restore points can be verified."""

    def __init__(self, description: Description, operations: Mapping[str, CheckedOperations[JobT]]) -> None:
        super().__init__(description, operations)
        self._checked = operations

    def doctor(self, call: Call, context: Context) -> Sequence[Finding]:
        """Return every check made, passed or not; changes nothing."""
        try:
            return self._checked[self.kind_of(call).name].doctor(self.job(call, context))
        except ProviderError as error:
            return [Finding(check="found", passed=False, detail=str(error), remedy=error.hint)]

    def verify(self, call: Call, context: Context) -> Proof:
        """Check what is stored of the call's restore point; changes nothing."""
        return self._checked[self.kind_of(call).name].verify(self.job(call, context))

    def inspect_target(self, call: Call, context: Context) -> RestoreTarget:
        """Look at what *call* would replace, or write to; changes nothing."""
        return self._checked[self.kind_of(call).name].inspect_target(self.job(call, context))

    def cut_size(self, call: Call, context: Context) -> CutSize | None:
        """Count what the call's SNAPSHOT has to take; changes nothing."""
        return self._checked[self.kind_of(call).name].cut_size(self.job(call, context))

    def former_state(self, call: Call, context: Context) -> FormerState | None:
        """Tell what is kept of what restores of the call's instance have replaced; changes nothing."""
        return self._checked[self.kind_of(call).name].former_state(self.job(call, context))
