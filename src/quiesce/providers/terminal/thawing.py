"""What the far side would have to run to thaw by itself."""

from __future__ import annotations

from dataclasses import replace

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE
from quiesce.providers.terminal.auth import TerminalAuth
from quiesce.providers.terminal.calls import terminal_calls

_OURS = ("cloudify_terminal.tasks.run", "quiesce.terminal.thaw")


def thaw_lines(call: Call, auth: TerminalAuth) -> tuple[str, ...]:
    """Return the lines of the node's own ``fs_finalize``.

    Raises:
        NonRecoverableError: saying why they cannot be run by a timer.
    """
    thaw = call.node.operations.get(FS_FINALIZE)
    if thaw is None or thaw.function not in _OURS:
        raise NonRecoverableError("the node's fs_finalize is not a command over SSH")
    freeze = call.node.operations.get(FS_PREPARE)
    if freeze is not None and freeze.inputs.get("terminal_auth") != thaw.inputs.get("terminal_auth"):
        raise NonRecoverableError("fs_finalize goes to another place than fs_prepare")
    inputs = {**call.inputs, "calls": call.thaw_inputs.get("calls")}
    calls = terminal_calls(replace(call, inputs=inputs), inputs["calls"], auth.reactions)
    if any(each.responses for each in calls):
        raise NonRecoverableError("fs_finalize answers questions, which a timer cannot")
    return tuple(line for each in calls for line in each.lines)
