"""Answers the provider port by calling functions of Cloudify plugins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from quiesce.errors import NonRecoverableError
from quiesce.isolation.child import Command
from quiesce.isolation.context_data import context_data
from quiesce.isolation.reaper import Reaper
from quiesce.isolation.run import ADDRESS, grace_s, inherited_environment, run_child
from quiesce.isolation.runtime_files import RUNTIME
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import Context, Finding, ProviderSettings
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

    def perform(self, call: Call, context: Context) -> Outcome:
        """Call the function that the blueprint names for this operation."""
        if call.operation is Operation.COPY:
            raise NonRecoverableError("a function's snapshot is whole when its cut is over; it has no copy")
        result = run_child(
            lambda address: self._command(call, address),
            context_data(call, plugin=_plugin(call), inputs=call.inputs),
            context,
            name=call.function,
            reaper=self._reaper,
        )
        return _outcome(call.operation, result)

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

    def close(self) -> None:
        """End the process that watches over the children."""
        self._reaper.close()

    def _command(self, call: Call, address: str) -> Command:
        return Command(
            argv=[self._python, _RUNNER, call.function],
            env={**inherited_environment(), ADDRESS: address},
            cwd=call.blueprint_dir or "/",
            grace_s=grace_s(call.operation),
        )


def _plugin(call: Call) -> str:
    implementation = call.node.operations.get(call.interface)
    return implementation.plugin if implementation is not None else ""


def _outcome(operation: Operation, result: Json) -> Outcome:
    shown = result if isinstance(result, dict) else {"result": result}
    match operation:
        case Operation.SNAPSHOT:
            return Outcome(artifact=shown, result=result)
        case Operation.MEASURE:
            return Outcome(measurements=shown, result=result)
        case _:
            return Outcome(result=result)
