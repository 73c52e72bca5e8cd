"""Answers the provider port by typing commands over SSH."""

from __future__ import annotations

from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.dispatch import perform
from quiesce.providers.terminal.auth import terminal_auth
from quiesce.providers.terminal.calls import terminal_calls
from quiesce.providers.terminal.operations import TerminalJob, TerminalOperations


class TerminalProvider:
    """Runs each operation's commands on the far side."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._operations = TerminalOperations()

    def perform(self, call: Call, context: Context) -> Outcome:
        """Run the commands that the blueprint names for this operation."""
        return perform(self._operations, call.operation, _job(call, context))

    def verify(self, call: Call, context: Context) -> Proof | None:
        """Run the commands of the blueprint's own check; without one, nothing there can be looked at."""
        if call.operation is not Operation.VERIFY:
            return None
        return self._operations.verify(_job(call, context))

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell that only the commands' author knows."""
        return None

    def close(self) -> None:
        """Hang up what is still open."""
        self._operations.close()


def _job(call: Call, context: Context) -> TerminalJob:
    auth = terminal_auth(call)
    calls = terminal_calls(call, call.inputs.get("calls"), auth.reactions)
    return TerminalJob(call=call, context=context, auth=auth, calls=calls)
