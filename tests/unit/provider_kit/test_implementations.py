"""Every operation runs what the blueprint names, and its result becomes the outcome."""

from __future__ import annotations

import pytest

from quiesce.errors import UnsupportedError
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
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


@pytest.mark.parametrize("operation", sorted(IMPLEMENTED))
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
