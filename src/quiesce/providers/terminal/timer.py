"""A timer on the far side that thaws by itself, armed before the freeze.

It is a shell that sleeps and then runs the thaw's own commands; it survives the loss of the connection. The
commands go through its standard input, so that no process list shows them, and nothing is written to a disk
that may be frozen. It is found again by its name among the processes.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from quiesce.errors import RecoverableError
from quiesce.model.call import Call
from quiesce.ports import Context
from quiesce.provider_kit.ownership import digest
from quiesce.providers.terminal.client import Connection

#: reads what to run, says so, lets go of the connection, and waits
_TIMER = (
    ': {name}; script=$(cat); [ -n "$script" ] || exit 1; echo armed; exec </dev/null >/dev/null 2>&1; '
    'trap "" HUP; sleep {seconds}; eval "$script"'
)
#: the processes of a timer: its shell, and for a moment each child of it that has not become a command yet
_LIST = """
old=$(ps -A -o pid= -o args= </dev/null | while read -r pid args; do
    case $args in "sh -c : {name};"*) echo "$pid" ;; esac
done)
"""
#: the old ones are looked for before the new one is there: its children bear its name until they become `cat`
#: and `sleep`, and a timer whose `cat` was killed would run nothing when its time has come
_ARM = """
exec 3<&0
starter=$(command -v setsid || command -v nohup)
"$starter" sh -c {timer} <&3 3<&- &
exec 3<&-
"""
_DISARM = """
for pid in $old; do kill "$pid" 2>/dev/null; done
exit 0
"""


def arm(connection: Connection, call: Call, lines: Sequence[str], seconds: float, context: Context) -> None:
    """Have the far side run *lines* by itself after *seconds*, instead of what was armed before.

    Raises:
        ProviderError: when it is not known to be armed; nothing may be frozen then.
    """
    timer = _TIMER.format(name=_name(call), seconds=math.ceil(seconds))
    script = _LIST.format(name=_name(call)) + _ARM.format(timer=shlex.quote(timer)) + _DISARM
    answer = connection.run(f"sh -c {shlex.quote(script)}", "\n".join(lines) + "\n", context)
    if "armed" not in answer:
        raise RecoverableError(
            f"{connection.address} did not arm the timer that thaws: {answer.strip()[:200]}"
        )


def disarm(connection: Connection, call: Call, context: Context) -> None:
    """Have the far side forget its timer; fine when there is none."""
    script = _LIST.format(name=_name(call)) + _DISARM
    connection.run(f"sh -c {shlex.quote(script)}", "", context)


def _name(call: Call) -> str:
    return f"quiesce-thaw-{digest(call.deployment, call.instance)}"
