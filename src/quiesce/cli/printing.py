"""The only place of the command line that prints."""

from __future__ import annotations

from typing import Any

import click

from quiesce.reports.escaping import printable_block


def say(text: str, *, err: bool = False, **style: Any) -> None:
    """Print *text* on standard output or error; nothing in it can act upon the terminal."""
    click.secho(printable_block(text), err=err, **style)
