"""keys: what opens backups, taken to a safe place and brought back."""

from __future__ import annotations

import os
from pathlib import Path

import click

from quiesce.backups import Keyring
from quiesce.bootstrap import Settings, require_trusted_home
from quiesce.cli.printing import say
from quiesce.cli.values import read_input
from quiesce.files.durable import storage_errors, write_named

#: how much a file of keys may hold
_MOST_BYTES = 1 << 20


@click.group()
def keys() -> None:
    """Keep a copy of what opens this home's backups, or bring it back.

    A repository is encrypted, and a key of QUIESCE_HOME opens it. When QUIESCE_HOME is lost and no copy of
    its keys exists, its backups cannot be read by anybody any more.
    """


@keys.command("export")
@click.option("--output", type=click.Path(dir_okay=False), metavar="FILE", help="A file (mode 0600) instead.")
def export_keys(output: str | None) -> None:
    """Print every key, one a line. Keep them where nobody else reads them.

    \b
    Example:
      quiesce keys export --output /media/safe/quiesce.keys
    """
    text = _keyring().export()
    if output is None:
        say(text.rstrip())
        return
    with storage_errors(f"write {output}"):
        write_named(Path(output).absolute(), text.encode())
    say(f"the keys are in {output}: whoever has them can read backups")


@keys.command("import")
@click.argument("file", type=click.Path(allow_dash=True))
def import_keys(file: str) -> None:
    """Take the keys in FILE ('-': standard input), too. Those that are here stay.

    \b
    Example:
      quiesce keys import /media/safe/quiesce.keys
    """
    content = read_input(file, at_most=_MOST_BYTES)
    new = _keyring().add(content.decode(errors="replace"))
    say(f"{new} new keys" if new != 1 else "1 new key")


def _keyring() -> Keyring:
    settings = Settings.of(os.environ)
    require_trusted_home(settings.home)
    return Keyring(settings.keys_file)
