"""What the inputs of a script operation say about the script itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json

#: inputs that are for us, not for the script
_OURS = frozenset({"script_path", "script_source", "process", "ssl_cert_content"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """The input ``process``, checked."""

    env: Mapping[str, Json] = field(default_factory=dict)
    cwd: str | None = None
    args: tuple[str, ...] = ()
    command_prefix: tuple[str, ...] = ()
    #: whether it is run as Python; None: when its name says so
    eval_python: bool | None = None
    log_stdout: bool = True
    log_stderr: bool = True
    stderr_to_stdout: bool = False


def operation_inputs(call: Call) -> dict[str, Json]:
    """Return the inputs that are meant for the script; ``quiesce_undo`` tells that it cleans up."""
    inputs = {name: value for name, value in call.inputs.items() if name not in _OURS}
    return {**inputs, "quiesce_undo": True} if call.undo else inputs


def process_settings(given: Json) -> ProcessSettings:
    """Read the input ``process``; what it does not say has its default.

    Raises:
        NonRecoverableError: when it has the wrong shape.
    """
    if not given:
        return ProcessSettings()
    if not isinstance(given, dict):
        raise NonRecoverableError("the input 'process' must be a mapping: env, cwd, args, command_prefix")
    return ProcessSettings(
        env=_mapping(given.get("env")),
        cwd=_text(given.get("cwd"), "cwd") or None,
        args=_words(given.get("args"), "args"),
        command_prefix=_words(given.get("command_prefix"), "command_prefix"),
        eval_python=_flag(given.get("eval_python"), "eval_python"),
        log_stdout=_flag(given.get("log_stdout"), "log_stdout") is not False,
        log_stderr=_flag(given.get("log_stderr"), "log_stderr") is not False,
        stderr_to_stdout=_flag(given.get("stderr_to_stdout"), "stderr_to_stdout") is True,
    )


def _mapping(given: Json) -> Mapping[str, Json]:
    if isinstance(given, dict) or given is None:
        return given or {}
    raise NonRecoverableError("process.env must be a mapping")


def _words(given: Json, name: str) -> tuple[str, ...]:
    """Split as a shell would, but expand nothing."""
    texts = given if isinstance(given, list) else [] if given is None else [given]
    try:
        return tuple(word for text in texts for word in shlex.split(str(text)))
    except ValueError as error:
        raise NonRecoverableError(f"process.{name} has unbalanced quotes: {error}") from error


def _text(given: Json, name: str) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    raise NonRecoverableError(f"process.{name} must be a string")


def _flag(given: Json, name: str) -> bool | None:
    if given is None or isinstance(given, bool):
        return given
    raise NonRecoverableError(f"process.{name} must be true or false")
