"""completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes quiesce's commands and options in SHELL.

    \b
    Example:
      quiesce completion bash > ~/.local/share/bash-completion/completions/quiesce
    """
    from quiesce.cli.main import quiesce

    found = get_completion_class(shell)
    if found is not None:
        click.echo(found(quiesce, {}, "quiesce", "_QUIESCE_COMPLETE").source())
