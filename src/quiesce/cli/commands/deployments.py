"""init; deployments list and remove."""

from __future__ import annotations

import random
from pathlib import Path

import click

from quiesce.app.deployments import add_deployment, remove_deployment
from quiesce.cli.session import json_option, services
from quiesce.cli.sources import import_options, import_policy
from quiesce.cli.values import read_inputs
from quiesce.reports.json import render_json
from quiesce.reports.text import deployments_text


@click.command()
@click.argument("blueprint", type=click.Path(dir_okay=False))
@click.option("-b", "--deployment", required=True, metavar="NAME", help="What to call the deployment.")
@click.option(
    "-i", "--input", "inputs", multiple=True, metavar="NAME=VALUE|FILE", help="An input, or a file of inputs."
)
@import_options
@json_option
def init(
    blueprint: str,
    deployment: str,
    inputs: tuple[str, ...],
    mappings: tuple[str, ...],
    network: bool,
    as_json: bool,
) -> None:
    """Read BLUEPRINT and keep it as a deployment. Touches nothing that it describes.

    \b
    Example:
      quiesce init blueprint.yaml -b shop -i region=north -i inputs.yaml
    """
    from quiesce.blueprint import instantiate, load_blueprint

    loaded = load_blueprint(blueprint, inputs=read_inputs(inputs), imports=import_policy(mappings, network))
    topology = instantiate(loaded, random.SystemRandom().choice)
    path = Path(blueprint).absolute()
    with services() as given:
        added = add_deployment(
            given, deployment, topology, blueprint=str(path), blueprint_dir=str(path.parent)
        )
    if as_json:
        click.echo(render_json("deployment", added))
        return
    count = len(topology.instances)
    click.echo(f"deployment {added.name}: {len(topology.nodes)} nodes, {count} instances")
    click.echo(f"next: quiesce plan backup {added.name}")


@click.group()
def deployments() -> None:
    """List deployments, or forget one."""


@deployments.command("list")
@json_option
def list_deployments(as_json: bool) -> None:
    """List the deployments that were initialized here."""
    with services() as given:
        found = given.deployments.list()
    click.echo(render_json("deployments", found) if as_json else deployments_text(found))


@deployments.command("remove")
@click.argument("deployment")
@click.option("--force", is_flag=True, help="Also when restore points would be forgotten.")
def remove(deployment: str, force: bool) -> None:
    """Forget DEPLOYMENT: its topology, executions and catalog. Nothing on any platform is touched."""
    with services() as given:
        remove_deployment(given, deployment, force=force)
    click.echo(f"deployment {deployment} is forgotten")
