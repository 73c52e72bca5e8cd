"""Answers the provider port by running scripts."""

from __future__ import annotations

from pathlib import Path

from quiesce.isolation.context_data import context_data
from quiesce.isolation.reaper import Reaper
from quiesce.isolation.run import private_directory, run_child
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.dispatch import perform
from quiesce.provider_kit.implementations import ImplementedOperations
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.named_files import verify_named_files
from quiesce.providers.script.command import script_command
from quiesce.providers.script.location import find_script
from quiesce.providers.script.options import operation_inputs, process_options


class ScriptProvider:
    """Runs each operation's script in a child process of its own."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._reaper = Reaper()
        self._operations = ScriptOperations(self._reaper)

    def perform(self, call: Call, context: Context) -> Outcome:
        """Run the script that the blueprint names for this operation."""
        return perform(self._operations, call.operation, Job(call=call, context=context))

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell that only the script's author knows."""
        return None

    def verify(self, call: Call, context: Context) -> Proof | None:
        """Run the blueprint's own check; without one, look at the files that the snapshot has named."""
        if call.operation is Operation.VERIFY:
            return self._operations.verify(Job(call=call, context=context))
        return verify_named_files(call, context)

    def close(self) -> None:
        """End the process that watches over the children."""
        self._reaper.close()


class ScriptOperations(ImplementedOperations[Job]):
    """Runs the script; it decides what is done."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper

    def run(self, job: Job, /) -> Json:
        """Run the script in a child process and return what it returned."""
        call = job.call
        with private_directory() as directory:
            script = find_script(call, Path(directory))
            process = process_options(call.inputs.get("process"))
            inputs = operation_inputs(call)
            return run_child(
                lambda address: script_command(call, script, process, inputs, address),
                context_data(call, plugin="script", inputs=inputs),
                job.context,
                name=script.name,
                reaper=self._reaper,
            )
