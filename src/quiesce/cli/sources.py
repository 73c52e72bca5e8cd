"""Options for what a blueprint may import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from quiesce.cli.printing import say
from quiesce.errors import UsageError
from quiesce.reports.escaping import printable_lines

if TYPE_CHECKING:
    from quiesce.blueprint import Blueprint

F = TypeVar("F", bound=Callable[..., Any])


def import_options(command: F) -> F:
    """Add ``--map`` and ``--network``."""
    mapping = click.option(
        "--map",
        "mappings",
        multiple=True,
        metavar="TEXT=FILE",
        help="Read an import that contains TEXT from FILE, unless it is a file that is there.",
    )
    network = click.option("--network", is_flag=True, help="Fetch https imports that nothing else answers.")
    return mapping(network(command))


def show_warnings(blueprint: Blueprint) -> None:
    """Print what is odd about *blueprint* and yet understood."""
    for warning in blueprint.warnings:
        say(f"warning: {printable_lines(str(warning))}", err=True)


def import_policy(mappings: tuple[str, ...], network: bool) -> Any:
    """Return what the options mean, as the blueprint loader wants it."""
    from quiesce.blueprint import ImportPolicy

    pairs = []
    for mapping in mappings:
        text, equals, path = mapping.partition("=")
        if not equals or not text or not path:
            raise UsageError(f"--map {mapping!r} is not of the form TEXT=FILE")
        pairs.append((text, Path(path)))
    return ImportPolicy(mappings=tuple(pairs), network=network)
