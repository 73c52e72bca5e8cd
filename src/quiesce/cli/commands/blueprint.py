"""blueprint show."""

from __future__ import annotations

import json

import click

from quiesce.cli.printing import say
from quiesce.cli.sources import import_options, import_policy, show_warnings
from quiesce.cli.values import read_inputs


@click.group()
def blueprint() -> None:
    """Look into blueprints."""


@blueprint.command("show")
@click.argument("path", metavar="BLUEPRINT", type=click.Path(dir_okay=False))
@click.option(
    "-i", "--input", "inputs", multiple=True, metavar="NAME=VALUE|FILE", help="An input, or a file of inputs."
)
@import_options
def show(path: str, inputs: tuple[str, ...], mappings: tuple[str, ...], network: bool) -> None:
    """Show what BLUEPRINT means, as JSON: nodes, hierarchies, instances, operations.

    \b
    Example:
      quiesce blueprint show blueprint.yaml --map types.yaml=./types.yaml
    """
    from quiesce.blueprint import describe, load_blueprint

    loaded = load_blueprint(path, inputs=read_inputs(inputs), imports=import_policy(mappings, network))
    show_warnings(loaded)
    say(json.dumps(describe(loaded), indent=1, sort_keys=True))
