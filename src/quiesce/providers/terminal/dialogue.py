"""Types lines into a terminal and reads what comes back."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.errors import NonRecoverableError, RecoverableError
from quiesce.isolation.output import BoundedLog
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.terminal.auth import Reactions, TerminalAuth
from quiesce.providers.terminal.calls import Response, TerminalCall
from quiesce.providers.terminal.client import Connection
from quiesce.providers.terminal.errors import unreachable
from quiesce.providers.terminal.heard import Heard

if TYPE_CHECKING:
    import paramiko

_BEAT_S = 0.1
_CHUNK_BYTES = 65536
_EXIT_S = 2.0
_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-B]|[=>])|[\x00\x07\x0f]|.\x08")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one line gave."""

    output: str
    #: exit status; None where there is no such thing
    status: int | None = None


class Dialogue:
    """An open terminal. Where the far side is a shell, every prompt carries the last exit status."""

    def __init__(self, connection: Connection, auth: TerminalAuth) -> None:
        self.connection = connection
        self.is_shell = False
        self._auth = auth
        self._mark = f"quiesce-{secrets.token_hex(8)}:"
        self._channel: paramiko.Channel = connection.open_shell()
        self._channel.settimeout(_BEAT_S)

    def begin(self, context: Context) -> None:
        """Wait for the first prompt and find out who answers."""
        usual = self._auth.reactions
        self._read(context, usual.prompts, ())
        if self._auth.shell is None:
            answer = self._type("echo $((40 + 2))$((3 + 4))", context, usual.prompts)
            self.is_shell = "427" in answer.output.split()
        else:
            self.is_shell = self._auth.shell
        if self.is_shell:
            self._tame(context)

    def run(self, call: TerminalCall, context: Context) -> str:
        """Type the lines of *call* and return what they gave.

        Raises:
            ProviderError: when an output or an exit status means that it failed.
        """
        said = BoundedLog(context.log)
        try:
            outputs = [self._insist(line, call, said, context) for line in call.lines]
        finally:
            said.end()
        return "\n".join(outputs).strip()

    def is_alive(self) -> bool:
        """Tell whether it can still be used, as far as can be seen from here."""
        return self.connection.is_alive() and not self._channel.closed

    def end(self, context: Context) -> None:
        """Say goodbye where the far side wants that, and hang up."""
        if self._auth.exit_command and not self.is_shell and not self._channel.closed:
            ends = time.monotonic() + min(_EXIT_S, context.remaining_s())
            self._channel.sendall(f"{self._auth.exit_command}\n".encode())
            while not self._channel.closed and time.monotonic() < ends:
                self._receive()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection; what runs on the far side's terminal gets a hang-up."""
        self._channel.close()
        self.connection.close()

    def _insist(self, line: str, call: TerminalCall, said: BoundedLog, context: Context) -> str:
        for _ in range(call.retry_count + 1):
            answer = self._type(line, context, call.reactions.prompts, call.responses)
            _log(answer.output, said)
            if not _found(call.reactions.warnings, answer.output):
                _judge(answer, call.reactions)
                return answer.output
            self._deadline(context).pause(call.retry_sleep_s)
        message = f"the output was still a warning after {call.retry_count} more tries"
        raise RecoverableError(message, own=True)

    def _tame(self, context: Context) -> None:
        """Make the shell quiet, with a prompt of ours that nothing else can print."""
        self._send(
            f"setopt PROMPT_SUBST 2>/dev/null; unset PROMPT_COMMAND; stty -echo; PS2=; PS1='{self._mark}$?:'"
        )
        self._read(context, (), ())

    def _type(
        self, line: str, context: Context, prompts: tuple[str, ...], responses: tuple[Response, ...] = ()
    ) -> Answer:
        self._send(line)
        output, status = self._read(context, prompts, responses)
        return Answer(output=_without_echo(output, line), status=status)

    def _send(self, line: str) -> None:
        try:
            self._channel.sendall(f"{line}\n".encode())
        except OSError as error:
            raise unreachable(self.connection.address, error) from error

    def _read(
        self, context: Context, prompts: tuple[str, ...], responses: tuple[Response, ...]
    ) -> tuple[str, int | None]:
        """Read up to the next prompt, answering questions on the way."""
        heard = Heard()
        deadline = self._deadline(context)
        while True:
            if self._channel.closed:
                raise unreachable(self.connection.address, "it closed the connection")
            deadline.left_s()
            heard.add(self._show(self._receive(), context))
            self._respond(heard, responses)
            end = self._end_of(heard.last, prompts)
            if end is not None:
                return heard.before(end[0]), end[1]

    def _respond(self, heard: Heard, responses: tuple[Response, ...]) -> None:
        for response in responses:
            if heard.asked(response.question):
                self._channel.sendall((response.answer + ("\n" if response.newline else "")).encode())
                return

    def _end_of(self, text: str, prompts: tuple[str, ...]) -> tuple[int, int | None] | None:
        """Return where the answer ends, and the exit status, when *text* ends with a prompt."""
        if self.is_shell:
            place = text.rfind(self._mark)
            status = re.fullmatch(r"([0-9]{1,3}):", text[place + len(self._mark) :]) if place >= 0 else None
            return (place, int(status[1])) if status else None
        before, _, last = text.rpartition("\n")
        if last.strip() and any(last.rstrip().endswith(prompt) for prompt in prompts):
            return len(before), None
        return None

    def _receive(self) -> str:
        try:
            chunk = self._channel.recv(_CHUNK_BYTES)
        except TimeoutError:
            return ""
        except OSError as error:
            raise unreachable(self.connection.address, error) from error
        if not chunk:
            self._channel.close()
        return _CONTROL.sub("", chunk.decode(errors="replace")).replace("\r\n", "\n").replace("\r", "")

    def _show(self, text: str, context: Context) -> str:
        if self._auth.show_dialogue and text.strip():
            context.log(Level.DEBUG, text)
        return text

    def _deadline(self, context: Context) -> Deadline:
        return Deadline(context, f"{self.connection.address}'s prompt")


def _judge(answer: Answer, reactions: Reactions) -> None:
    if _found(reactions.successes, answer.output):
        return
    critical = _found(reactions.criticals, answer.output)
    if critical:
        raise NonRecoverableError(f"the output has {critical!r}", own=True)
    error = _found(reactions.errors, answer.output)
    if error:
        raise RecoverableError(f"the output has {error!r}", own=True)
    if reactions.check_status and answer.status:
        last = answer.output.strip().rpartition("\n")[2][:300]
        raise RecoverableError(f"a command ended with exit status {answer.status}: {last}", own=True)


def _found(examples: tuple[str, ...], output: str) -> str:
    return next((example for example in examples if example in output), "")


def _without_echo(output: str, line: str) -> str:
    first, _, rest = output.partition("\n")
    return (rest if first.strip().endswith(line.strip()) else output).strip("\n")


def _log(output: str, said: BoundedLog) -> None:
    for line in output.split("\n"):
        if line.strip():
            said.add(Level.INFO, line.rstrip())
