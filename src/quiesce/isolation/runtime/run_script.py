"""Runs one Python script as an operation and says how it went.

Usage: run_script.py SCRIPT [ARGUMENT...]. Status 0 means that the script ended by itself, well or not: what
it raised has been said over the link.
"""

from __future__ import annotations

import os
import sys
import traceback

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.join(_HERE, "link"), os.path.join(_HERE, "stand_in")]

from cloudify.exceptions import NonRecoverableError
from cloudify.state import current_ctx
from quiesce_link import connect


def main(script: str) -> None:
    """Run *script*, save what it changed, and say what it raised."""
    try:
        _execute(script)
    except Exception as error:  # noqa: BLE001  whatever it raises is the answer
        _tell(error)
    finally:
        context = current_ctx.used()
        if context is not None:
            context.instance.update()


def _execute(script: str) -> None:
    with open(script, encoding="utf-8", errors="replace") as file:
        code = compile(file.read(), script, "exec")
    module = {"__name__": "__main__", "__file__": script, "__builtins__": __builtins__, "__package__": None}
    exec(code, module)  # noqa: S102  that is what it is for


def _tell(error: Exception) -> None:
    frames = (
        error.__traceback__.tb_next.tb_next if error.__traceback__ and error.__traceback__.tb_next else None
    )
    sys.stderr.write("".join(traceback.format_exception(type(error), error, frames)))
    connect().ask(
        "raised",
        recoverable=not isinstance(error, NonRecoverableError),
        message=str(error) or type(error).__name__,
        kind=type(error).__name__,
        retry_after=getattr(error, "retry_after", None),
    )


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    main(sys.argv[0])
