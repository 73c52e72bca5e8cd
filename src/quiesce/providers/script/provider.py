"""Answers the provider port by running scripts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from quiesce.errors import NonRecoverableError
from quiesce.isolation.context_data import context_data
from quiesce.isolation.reaper import Reaper
from quiesce.isolation.run import run_child
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import Context, ProviderSettings
from quiesce.providers.script.command import script_command
from quiesce.providers.script.location import find_script
from quiesce.providers.script.settings import operation_inputs, process_settings


class ScriptProvider:
    """Runs each operation's script in a child process of its own."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._reaper = Reaper()

    def perform(self, call: Call, context: Context) -> Outcome:
        """Run the script that the blueprint names for this operation."""
        with tempfile.TemporaryDirectory(prefix="quiesce-") as directory:
            script = find_script(call, Path(directory))
            process = process_settings(call.inputs.get("process"))
            inputs = operation_inputs(call)
            result = run_child(
                lambda address: script_command(call, script, process, inputs, address),
                context_data(call, plugin="script", inputs=inputs),
                context,
                name=script.name,
                reaper=self._reaper,
            )
        return _outcome(call.operation, result)

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell that only the script's author knows."""
        return None

    def close(self) -> None:
        """End the process that watches over the children."""
        self._reaper.close()


def _outcome(operation: Operation, result: Json) -> Outcome:
    shown = result if isinstance(result, dict) else {"result": result}
    match operation:
        case Operation.SNAPSHOT:
            return Outcome(artifact=shown, result=result)
        case Operation.MEASURE:
            return Outcome(measurements=shown, result=result)
        case Operation.COPY:
            raise NonRecoverableError("a script's snapshot is whole when its cut is over; it has no copy")
        case _:
            return Outcome(result=result)
