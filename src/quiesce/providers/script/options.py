"""What the inputs of a script operation say about the script itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.options import option
from quiesce.model.words import WrongValueError
from quiesce.provider_kit.options import read_values

#: inputs that are for us, not for the script
_OURS: Final = frozenset({"script_path", "script_source", "process", "ssl_cert_content"})
#: shown instead of what may hold a secret
_HIDDEN: Final = "..."


def _shell_words(value: Json) -> tuple[str, ...]:
    """Split as a shell would, but expand nothing."""
    texts = value if isinstance(value, list) else [value]
    try:
        return tuple(word for text in texts for word in shlex.split(str(text)))
    except ValueError as error:
        raise WrongValueError(_HIDDEN, "words with balanced quotes") from error


def _variables(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise WrongValueError(_HIDDEN, "a mapping")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """The input ``process``: how the script is run."""

    env: Mapping[str, Json] | None = option(
        None, "variables of its environment, besides the inputs", read=_variables
    )
    cwd: str | None = option(None, "its working directory; the blueprint's when there is none")
    args: tuple[str, ...] = option((), "its arguments", read=_shell_words)
    command_prefix: tuple[str, ...] = option((), "what runs it", read=_shell_words)
    eval_python: bool | None = option(None, "whether it is run as Python; else its name says so")
    log_stdout: bool = option(True, "whether its output becomes log lines")
    log_stderr: bool = option(True, "whether its errors become log lines")
    stderr_to_stdout: bool = option(False, "whether its errors count as output")
    ctx_proxy_type: str | None = option(
        None, "how Cloudify gives it its ctx; quiesce has one way, so this changes nothing"
    )


def operation_inputs(call: Call) -> dict[str, Json]:
    """Return the inputs that are meant for the script; ``quiesce_undo`` tells that it cleans up."""
    inputs = {name: value for name, value in call.inputs.items() if name not in _OURS}
    return {**inputs, "quiesce_undo": True} if call.undo else inputs


def process_options(given: Json) -> ProcessOptions:
    """Read the input ``process``; what it does not say has its default.

    Raises:
        NonRecoverableError: for a value that is not accepted, and for a name that is no option.
    """
    if not given:
        return ProcessOptions()
    if not isinstance(given, dict):
        raise NonRecoverableError("the input 'process' must be a mapping: env, cwd, args, command_prefix")
    said = {name: value for name, value in given.items() if value is not None and value != ""}
    return read_values(ProcessOptions, "process", said)
