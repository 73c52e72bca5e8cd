"""Makes the command line and the environment of a script."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from quiesce.errors import NonRecoverableError
from quiesce.isolation.child import Command
from quiesce.isolation.run import ADDRESS, facts_of, grace_s, inherited_environment
from quiesce.isolation.runtime_files import BIN, PYTHON_PATH, RUNTIME
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.providers.script.options import ProcessOptions


def script_command(
    call: Call, script: Path, process: ProcessOptions, inputs: Mapping[str, Json], address: str
) -> Command:
    """Return how *script* is run for *call*, with its ``ctx`` at *address*."""
    return Command(
        argv=[*_interpreter(script, process), str(script), *process.args],
        env=_environment({**inputs, **(process.env or {})}, address) | facts_of(call),
        cwd=process.cwd or call.blueprint_dir or "/",
        log_stdout=process.log_stdout,
        log_stderr=process.log_stderr,
        stderr_to_stdout=process.stderr_to_stdout,
        grace_s=grace_s(call.operation),
    )


def _interpreter(script: Path, process: ProcessOptions) -> list[str]:
    if process.eval_python or (script.suffix.lower() == ".py" and process.eval_python is None):
        return [sys.executable, str(RUNTIME / "run_script.py")]
    if process.command_prefix:
        return list(process.command_prefix)
    if script.suffix.lower() == ".ps1":
        return ["powershell"]
    return _named_by(script)


def _named_by(script: Path) -> list[str]:
    """Read who is to run *script* from its first line, so that it need not be executable."""
    with script.open("rb") as file:
        first = file.readline(256)
    if first.startswith(b"#!"):
        return shlex.split(os.fsdecode(first[2:]), posix=False)
    if first.startswith(b"\x7fELF"):
        return []
    return ["/bin/sh"]


def _environment(variables: Mapping[str, Json], address: str) -> dict[str, str]:
    env = inherited_environment()
    for name, value in variables.items():
        env[name] = _variable(name, value)
    env["PATH"] = os.pathsep.join([str(BIN), env.get("PATH", os.defpath)])
    known = [env["PYTHONPATH"]] if env.get("PYTHONPATH") else []
    env["PYTHONPATH"] = os.pathsep.join([*map(str, PYTHON_PATH), *known])
    env["QUIESCE_PYTHON"] = sys.executable
    env[ADDRESS] = address
    return env


def _variable(name: str, value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if "\0" in text or "\0" in name or "=" in name or not name:
        raise NonRecoverableError(f"the input {name!r} cannot become an environment variable")
    return text
