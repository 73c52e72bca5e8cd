"""Answers the provider port by typing commands over SSH."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from quiesce.errors import CannotFreezeError, NonRecoverableError, ProviderError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.records import Level
from quiesce.ports import Context, ProviderSettings
from quiesce.providers.terminal.auth import TerminalAuth, terminal_auth
from quiesce.providers.terminal.calls import TerminalCall, terminal_calls
from quiesce.providers.terminal.client import connect
from quiesce.providers.terminal.dialogue import Dialogue
from quiesce.providers.terminal.thawing import thaw_lines
from quiesce.providers.terminal.timer import arm, disarm

_Key = tuple[str, str]


class TerminalProvider:
    """Runs each operation's commands on the far side.

    The terminal of a freeze is kept for its thaw: logging in anew could hang on the frozen file system.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._lock = threading.Lock()
        self._kept: dict[_Key, Dialogue] = {}

    def perform(self, call: Call, context: Context) -> Outcome:
        """Run the commands that the blueprint names for this operation."""
        auth = terminal_auth(call)
        calls = terminal_calls(call, call.inputs.get("calls"), auth.reactions)
        match call.operation:
            case Operation.FREEZE:
                outputs = self._freeze(call, auth, calls, context)
            case Operation.THAW:
                outputs = self._thaw(call, auth, calls, context)
            case Operation.COPY:
                raise NonRecoverableError("what is done over SSH is all cut; it has no copy")
            case _:
                with _dialogue(auth, context) as dialogue:
                    outputs = _run(dialogue, calls, context)
        return _outcome(call, outputs, context)

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell that only the commands' author knows."""
        return None

    def close(self) -> None:
        """Hang up what is still open."""
        with self._lock:
            kept, self._kept = self._kept, {}
        for dialogue in kept.values():
            dialogue.hang_up()

    def _freeze(
        self, call: Call, auth: TerminalAuth, calls: tuple[TerminalCall, ...], context: Context
    ) -> dict[str, Json]:
        if not any(each.lines for each in calls):
            raise CannotFreezeError(f"{call.node.id}: fs_prepare has no commands")
        dialogue = _opened(auth, context)
        try:
            if call.thaw_after_s is not None:
                _arm(dialogue, call, auth, call.thaw_after_s, context)
            outputs = _run(dialogue, calls, context)
        except BaseException:
            dialogue.hang_up()
            raise
        self._keep(call, dialogue)
        return outputs

    def _thaw(
        self, call: Call, auth: TerminalAuth, calls: tuple[TerminalCall, ...], context: Context
    ) -> dict[str, Json]:
        kept = self._taken(call)
        if kept is not None:
            with contextlib.suppress(ProviderError), _ending(kept, context):
                return _run_and_disarm(kept, call, calls, context)
        with _dialogue(auth, context) as dialogue:
            return _run_and_disarm(dialogue, call, calls, context)

    def _keep(self, call: Call, dialogue: Dialogue) -> None:
        with self._lock:
            before = self._kept.pop(_key(call), None)
            self._kept[_key(call)] = dialogue
        if before is not None:
            before.hang_up()

    def _taken(self, call: Call) -> Dialogue | None:
        with self._lock:
            kept = self._kept.pop(_key(call), None)
        if kept is not None and not kept.is_alive():
            kept.hang_up()
            return None
        return kept


def _key(call: Call) -> _Key:
    return call.deployment, call.instance


def _opened(auth: TerminalAuth, context: Context) -> Dialogue:
    connection = connect(auth, context)
    try:
        dialogue = Dialogue(connection, auth)
        dialogue.begin(context)
    except BaseException:
        connection.close()
        raise
    return dialogue


def _dialogue(auth: TerminalAuth, context: Context) -> contextlib.AbstractContextManager[Dialogue]:
    return _ending(_opened(auth, context), context)


@contextlib.contextmanager
def _ending(dialogue: Dialogue, context: Context) -> Iterator[Dialogue]:
    try:
        yield dialogue
        dialogue.end(context)
    finally:
        dialogue.hang_up()


def _arm(dialogue: Dialogue, call: Call, auth: TerminalAuth, seconds: float, context: Context) -> None:
    try:
        if not dialogue.is_shell:
            raise NonRecoverableError("the far side is not a shell")
        lines = thaw_lines(call, auth)
    except NonRecoverableError as error:
        context.log(Level.WARNING, f"no timer thaws {call.instance} by itself: {error}")
        return
    arm(dialogue.connection, call, lines, seconds, context)


def _run(dialogue: Dialogue, calls: tuple[TerminalCall, ...], context: Context) -> dict[str, Json]:
    """Return the outputs that are to be saved, by runtime property."""
    outputs: dict[str, Json] = {}
    for each in calls:
        output = dialogue.run(each, context)
        if each.save_to:
            outputs[each.save_to] = output
    return outputs


def _run_and_disarm(
    dialogue: Dialogue, call: Call, calls: tuple[TerminalCall, ...], context: Context
) -> dict[str, Json]:
    outputs = _run(dialogue, calls, context)
    if dialogue.is_shell:
        disarm(dialogue.connection, call, context)
    return outputs


def _outcome(call: Call, outputs: dict[str, Json], context: Context) -> Outcome:
    if outputs:
        context.set_runtime_properties({**call.runtime_properties, **outputs})
    match call.operation:
        case Operation.SNAPSHOT:
            return Outcome(artifact=outputs, result=outputs)
        case Operation.MEASURE:
            return Outcome(measurements=outputs, result=outputs)
        case _:
            return Outcome(result=outputs or None)
