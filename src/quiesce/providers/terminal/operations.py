"""What is typed on the far side, operation by operation."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from quiesce.errors import CannotFreezeError, NonRecoverableError, ProviderError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.implementations import ImplementedOperations
from quiesce.provider_kit.job import Job, RuntimeState
from quiesce.providers.terminal.auth import TerminalAuth
from quiesce.providers.terminal.calls import TerminalCall
from quiesce.providers.terminal.client import connect
from quiesce.providers.terminal.dialogue import Dialogue
from quiesce.providers.terminal.thawing import thaw_lines
from quiesce.providers.terminal.timer import arm, disarm

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalJob(Job):
    """A call, the account, and what is to be typed."""

    auth: TerminalAuth
    calls: tuple[TerminalCall, ...]


class TerminalOperations(ImplementedOperations[TerminalJob]):
    """Types the commands.

    The terminal of a freeze is kept for its thaw: logging in anew could hang on the frozen file system.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[_Key, Dialogue] = {}

    def run(self, job: TerminalJob, /) -> Json:
        """Type the commands in a terminal of their own."""
        with _ending(_opened(job), job) as dialogue:
            return _typed(dialogue, job)

    def freeze(self, job: TerminalJob, /) -> Outcome:
        """Arm the timer, freeze, and keep the terminal for the thaw."""
        if not any(each.lines for each in job.calls):
            raise CannotFreezeError(f"{job.call.node.id}: fs_prepare has no commands")
        dialogue = _opened(job)
        try:
            if job.call.thaw_after_s is not None:
                _arm(dialogue, job, job.call.thaw_after_s)
            outputs = _typed(dialogue, job)
        except BaseException:
            dialogue.hang_up()
            raise
        self._keep(job.call, dialogue)
        return Outcome(result=outputs)

    def thaw(self, job: TerminalJob, /) -> Outcome:
        """Thaw in the terminal of the freeze, or in a new one, and disarm the timer."""
        kept = self._taken(job.call)
        if kept is not None:
            with contextlib.suppress(ProviderError), _ending(kept, job):
                return _thawed(kept, job)
        with _ending(_opened(job), job) as dialogue:
            return _thawed(dialogue, job)

    def close(self) -> None:
        """Hang up what is still open."""
        with self._lock:
            kept, self._kept = self._kept, {}
        for dialogue in kept.values():
            dialogue.hang_up()

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


def _opened(job: TerminalJob) -> Dialogue:
    connection = connect(job.auth, job.context)
    try:
        dialogue = Dialogue(connection, job.auth)
        dialogue.begin(job.context)
    except BaseException:
        connection.close()
        raise
    return dialogue


@contextlib.contextmanager
def _ending(dialogue: Dialogue, job: TerminalJob) -> Iterator[Dialogue]:
    try:
        yield dialogue
        dialogue.end(job.context)
    finally:
        dialogue.hang_up()


def _arm(dialogue: Dialogue, job: TerminalJob, seconds: float) -> None:
    try:
        if not dialogue.is_shell:
            raise NonRecoverableError("the far side is not a shell")
        lines = thaw_lines(job.call, job.auth)
    except NonRecoverableError as error:
        job.warn(f"no timer thaws {job.call.instance} by itself: {error}")
        return
    arm(dialogue.connection, job.call, lines, seconds, job.context)


def _typed(dialogue: Dialogue, job: TerminalJob) -> Json:
    """Type the commands; the outputs that are to be saved become runtime properties and the result."""
    outputs: dict[str, Json] = {}
    for each in job.calls:
        output = dialogue.run(each, job.context)
        if each.save_to:
            outputs[each.save_to] = output
    if outputs:
        RuntimeState(job).write(**outputs)
    return outputs or None


def _thawed(dialogue: Dialogue, job: TerminalJob) -> Outcome:
    outputs = _typed(dialogue, job)
    if dialogue.is_shell:
        disarm(dialogue.connection, job.call, job.context)
    return Outcome(result=outputs)
