"""What to run on the far side: ``calls``, checked and with their templates filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jinja2
import jinja2.sandbox

from quiesce.errors import NonRecoverableError
from quiesce.files.reading import read_regular
from quiesce.files.trust import require_trusted
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.words import read_flag, read_seconds, whole_number
from quiesce.providers.terminal.auth import Reactions, reactions
from quiesce.providers.terminal.values import text, value

_USUAL = Reactions()
_RETRIES = 10
_RETRY_SLEEP_S = 15.0


_LARGEST_TEMPLATE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What to type when a command asks."""

    question: str
    answer: str
    newline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalCall:
    """Lines to type one after the other, and what to make of the output."""

    lines: tuple[str, ...]
    responses: tuple[Response, ...] = ()
    reactions: Reactions = _USUAL
    #: runtime property that gets the output
    save_to: str = ""
    #: how often a line is typed again on a warning, and how long to wait before
    retry_count: int = _RETRIES
    retry_sleep_s: float = _RETRY_SLEEP_S


def terminal_calls(call: Call, given: Json, usual: Reactions) -> tuple[TerminalCall, ...]:
    """Read the input ``calls`` of *call*.

    Raises:
        NonRecoverableError: when something has the wrong shape, or a template cannot be filled in.
    """
    if given is None or given == "":
        return ()
    if not isinstance(given, list):
        raise NonRecoverableError("the input 'calls' must be a list of commands")
    return tuple(_call(call, {"action": each} if isinstance(each, str) else each, usual) for each in given)


def _call(call: Call, given: Json, usual: Reactions) -> TerminalCall:
    if not isinstance(given, dict):
        raise NonRecoverableError("each of 'calls' must be a command, or a mapping with action or template")
    return TerminalCall(
        lines=tuple(line for line in _text(call, given).split("\n") if line.strip()),
        responses=_responses(given.get("responses")),
        reactions=reactions(given, usual),
        save_to=text(given, "save_to"),
        retry_count=value(given, "retry_count", whole_number(0), _RETRIES),
        retry_sleep_s=value(given, "retry_sleep", read_seconds, _RETRY_SLEEP_S),
    )


def _responses(given: Json) -> tuple[Response, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise NonRecoverableError("terminal: responses must be a list of question and answer")
    return tuple(
        Response(
            question=text(each, "question"),
            answer=text(each, "answer"),
            newline=value(each, "newline", read_flag, False),
        )
        for each in given
        if isinstance(each, dict) and text(each, "question")
    )


def _text(call: Call, given: Mapping[str, Json]) -> str:
    if given.get("action"):
        return text(given, "action")
    source = text(given, "template_text")
    if given.get("template"):
        source = _file(call, text(given, "template"))
    return _render(call, source, given.get("params"))


def _file(call: Call, name: str) -> str:
    root = Path(call.blueprint_dir).resolve()
    path = (root / name.lstrip("/")).resolve()
    if not path.is_relative_to(root):
        raise NonRecoverableError(f"there is no template {name} below the blueprint's directory {root}")
    try:
        content = read_regular(path, at_most=_LARGEST_TEMPLATE).decode()
        require_trusted(path)  # what it says is typed on a device
        return content
    except FileNotFoundError:
        message = f"there is no template {name} below the blueprint's directory {root}"
        raise NonRecoverableError(message) from None
    except OSError as error:
        raise NonRecoverableError(f"the template {name} cannot be used: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise NonRecoverableError(f"the template {name} is not text in UTF-8") from error


def _render(call: Call, source: str, params: Json) -> str:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
    variables = params if isinstance(params, dict) else {}
    try:
        return environment.from_string(source).render({**variables, "ctx": _view(call)})
    except jinja2.TemplateError as error:
        raise NonRecoverableError(f"a terminal template cannot be filled in: {error}") from error


def _view(call: Call) -> dict[str, object]:
    """Return what templates may read as ``ctx``."""
    return {
        "node": {"id": call.node.id, "name": call.node.id, "properties": dict(call.properties)},
        "instance": {"id": call.instance, "runtime_properties": dict(call.runtime_properties)},
        "deployment": {"id": call.deployment},
        "operation": {"name": call.interface},
        "execution_id": call.execution,
        "workflow_id": call.workflow,
    }
