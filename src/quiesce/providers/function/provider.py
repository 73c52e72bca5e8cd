"""Answers the provider port by calling functions of Cloudify plugins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from quiesce.files.trust import require_trusted
from quiesce.isolation.child import Command
from quiesce.isolation.context_data import context_data
from quiesce.isolation.reaper import Reaper
from quiesce.isolation.run import ADDRESS, facts_of, grace_s, inherited_environment, run_child
from quiesce.isolation.runtime_files import RUNTIME
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, Finding, ProviderSettings
from quiesce.provider_kit.dispatch import perform
from quiesce.provider_kit.implementations import ImplementedOperations
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.named_files import verify_named_files
from quiesce.providers.function.interpreter import SETTING, find_python

_RUNNER = str(RUNTIME / "run_function.py")


class FunctionProvider:
    """Calls each operation's function in a child process of its own."""

    def __init__(self, settings: ProviderSettings) -> None:
        """Find the Python that has cloudify-common.

        Raises:
            PlanError: when there is none.
        """
        self._python = find_python(os.environ)
        self._reaper = Reaper()
        self._operations = FunctionOperations(self._python, self._reaper)

    def perform(self, call: Call, context: Context) -> Outcome:
        """Call the function that the blueprint names for this operation."""
        return perform(self._operations, call.operation, Job(call=call, context=context))

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell that only the plugin knows."""
        return None

    def doctor(self, call: Call, context: Context) -> Sequence[Finding]:
        """Tell whether the function can be imported."""
        check = subprocess.run(
            [self._python, _RUNNER, "--check", call.function],
            env=inherited_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1.0, context.remaining_s()),
        )
        if check.returncode == 0:
            return [Finding(check="function", passed=True, detail=f"{call.function} can be imported")]
        reason = check.stderr.strip().rpartition("\n")[2]
        remedy = f"Install its plugin for {self._python}, or name another Python in {SETTING}."
        return [Finding(check="function", passed=False, detail=f"{call.function}: {reason}", remedy=remedy)]

    def verify(self, call: Call, context: Context) -> Proof | None:
        """Run the blueprint's own check; without one, look at the files that the snapshot has named."""
        if call.operation is Operation.VERIFY:
            return self._operations.verify(Job(call=call, context=context))
        return verify_named_files(call, context)

    def close(self) -> None:
        """End the process that watches over the children."""
        self._reaper.close()


class FunctionOperations(ImplementedOperations[Job]):
    """Calls the function; it decides what is done."""

    def __init__(self, python: str, reaper: Reaper) -> None:
        self._python = python
        self._reaper = reaper

    def run(self, job: Job, /) -> Json:
        """Call the function in a child process and return what it returned."""
        return run_child(
            lambda address: self._command(job.call, address),
            context_data(job.call, plugin=_plugin(job.call), inputs=job.call.inputs),
            job.context,
            name=job.call.function,
            reaper=self._reaper,
        )

    def _command(self, call: Call, address: str) -> Command:
        if call.blueprint_dir:
            require_trusted(call.blueprint_dir)  # modules are imported from it
        return Command(
            argv=[self._python, _RUNNER, call.function],
            env={**inherited_environment(), **facts_of(call), ADDRESS: address},
            cwd=call.blueprint_dir or "/",
            grace_s=grace_s(call.operation),
        )


def _plugin(call: Call) -> str:
    implementation = call.node.operations.get(call.interface)
    return implementation.plugin if implementation is not None else ""
