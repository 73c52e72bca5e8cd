"""A provider whose answers are lost on the way."""

from __future__ import annotations

from typing import TypeVar

from quiesce.errors import OperationTimeoutError
from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import Context, Provider

P = TypeVar("P", bound=Provider)


def forgetful(provider: P, lost: list[Operation]) -> P:
    """Have *provider* do what it is asked to, but lose its next answer to each operation of *lost*."""
    perform = provider.perform

    def forget(call: Call, context: Context) -> Outcome:
        outcome = perform(call, context)
        if call.operation in lost:
            lost.remove(call.operation)
            raise OperationTimeoutError("the answer was lost")
        return outcome

    provider.perform = forget  # type: ignore[method-assign]
    return provider
