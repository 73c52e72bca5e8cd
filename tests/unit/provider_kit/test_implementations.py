"""Every operation runs what the blueprint names, and its result becomes the outcome."""

from __future__ import annotations

import pytest

from quiesce.errors import OperationTimeoutError, ProviderError, RecoverableError, UnsupportedError
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.dispatch import perform
from quiesce.provider_kit.implementations import IMPLEMENTED, ImplementedOperations
from quiesce.provider_kit.job import Job
from quiesce.testing.contexts import RecordingContext
from tests.unit.provider_kit.calls import a_call


class Returning(ImplementedOperations[Job]):
    """Returns the same for every operation, and writes down which was run."""

    def __init__(self, result: Json) -> None:
        self.result = result
        self.ran: list[Operation] = []

    def run(self, job: Job, /) -> Json:
        self.ran.append(job.call.operation)
        return self.result


def performed(operation: Operation, result: Json) -> Outcome:
    operations = Returning(result)
    outcome = perform(operations, operation, Job(call=a_call(operation), context=RecordingContext()))
    assert operations.ran == [operation]
    return outcome


@pytest.mark.parametrize("operation", sorted(IMPLEMENTED - {Operation.VERIFY}))
def test_an_operation_runs_what_is_named_once(operation: Operation) -> None:
    """The result is kept as it is, and stands where the operation's outcome has a place for it."""
    outcome = performed(operation, {"size": 3})
    assert outcome.result == {"size": 3}
    assert outcome.artifact == ({"size": 3} if operation is Operation.SNAPSHOT else None)
    assert outcome.measurements == ({"size": 3} if operation is Operation.MEASURE else None)


@pytest.mark.parametrize(
    ("result", "artifact"), [(None, {}), ("snap-1", {"result": "snap-1"}), (0, {"result": 0})]
)
def test_what_is_no_mapping_becomes_one(result: Json, artifact: Json) -> None:
    assert performed(Operation.SNAPSHOT, result).artifact == artifact


def test_there_is_no_copy() -> None:
    """A snapshot by the blueprint's own means is complete at the cut; nothing is run for a copy."""
    operations = Returning(None)
    with pytest.raises(UnsupportedError, match="complete when the cut is over"):
        perform(operations, Operation.COPY, Job(call=a_call(Operation.COPY), context=RecordingContext()))
    assert operations.ran == []
    assert IMPLEMENTED | {Operation.COPY} == set(Operation)


class Failing(Returning):
    """Fails in one way."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(None)
        self.error = error

    def run(self, job: Job, /) -> Json:
        raise self.error


def verified(operations: Returning) -> Proof:
    return operations.verify(Job(call=a_call(Operation.VERIFY), context=RecordingContext()))


@pytest.mark.parametrize(
    ("result", "read", "detail"),
    [
        (None, False, "by the blueprint's own check"),
        ({"read": True, "detail": "3 tables"}, True, "3 tables"),
        ({"read": "true\n"}, True, "by the blueprint's own check"),
        ({"read": "no"}, False, "by the blueprint's own check"),
        ({"read": {"all": 1}}, False, "by the blueprint's own check"),
        ("3 tables", False, "3 tables"),
    ],
)
def test_a_check_has_read_everything_only_when_it_says_so(result: Json, read: bool, detail: str) -> None:
    found = verified(Returning(result))
    assert (found.passed, found.read, found.detail) == (True, read, detail)


def test_a_check_that_says_that_something_is_wrong_is_a_failed_one() -> None:
    found = verified(Failing(RecoverableError("it is cut off", own=True)))
    assert (found.passed, found.read, found.detail) == (False, False, "it is cut off")


@pytest.mark.parametrize("error", [RecoverableError("no route"), OperationTimeoutError("too slow")])
def test_a_check_that_was_not_made_says_nothing(error: ProviderError) -> None:
    with pytest.raises(type(error)):
        verified(Failing(error))
