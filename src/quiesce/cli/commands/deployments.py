"""init; deployments list and remove."""

from __future__ import annotations

import os
import random
from pathlib import Path

import click

from quiesce.app.deployments import add_deployment, remove_deployment, take_over_deployment
from quiesce.app.points.manifests import newest_manifest
from quiesce.backups import Keyring
from quiesce.blueprint import (
    LocalDeployment,
    default_profile,
    instantiate,
    load_blueprint,
    read_cfy_local,
    with_instances,
)
from quiesce.bootstrap import Settings
from quiesce.cli.names import deployment_names
from quiesce.cli.printing import say
from quiesce.cli.session import json_option, services
from quiesce.cli.sources import import_options, import_policy, show_warnings
from quiesce.cli.values import place_of, read_inputs
from quiesce.errors import UsageError
from quiesce.model.deployment import Deployment
from quiesce.reports.json import render_json
from quiesce.reports.text import deployments_text


@click.command()
@click.argument("blueprint", required=False, type=click.Path(dir_okay=False))
@click.option("-b", "--deployment", metavar="NAME", help="What to call the deployment.")
@click.option(
    "-i", "--input", "inputs", multiple=True, metavar="NAME=VALUE|FILE", help="An input, or a file of inputs."
)
@click.option(
    "--from-cfy-local",
    "cfy_deployment",
    metavar="DEPLOYMENT",
    help="Take blueprint, instances and runtime properties from cfy's local profile.",
)
@click.option(
    "--from-repository",
    "repository",
    metavar="URL",
    callback=lambda _context, _option, given: given and place_of(given),
    help="Take instances and runtime properties from the newest backup there, after the database was lost.",
)
@import_options
@json_option
def init(
    blueprint: str | None,
    deployment: str | None,
    inputs: tuple[str, ...],
    cfy_deployment: str | None,
    repository: str | None,
    mappings: tuple[str, ...],
    network: bool,
    as_json: bool,
) -> None:
    """Read BLUEPRINT and keep it as a deployment. Touches nothing that it describes.

    \b
    Example:
      quiesce init blueprint.yaml -b shop -i region=north -i inputs.yaml
      quiesce init --from-cfy-local shop
      quiesce init blueprint.yaml -b shop --from-repository /backups
    """
    taken = _taken(cfy_deployment, blueprint, repository)
    path = taken.blueprint if taken is not None else Path(blueprint or "")
    name = deployment or cfy_deployment
    if name is None or not path.name:
        raise UsageError("init needs a BLUEPRINT and -b NAME, or --from-cfy-local DEPLOYMENT")
    given_inputs = {**(taken.inputs if taken is not None else {}), **read_inputs(inputs)}
    loaded = load_blueprint(path, inputs=given_inputs, imports=import_policy(mappings, network))
    show_warnings(loaded)
    with services() as given:
        kept = taken or (newest_manifest(given, repository, name) if repository is not None else None)
        if kept is None:
            topology = instantiate(loaded, random.SystemRandom().choice)
        else:
            topology = with_instances(loaded, kept.instances)
        keep = add_deployment if taken is None else take_over_deployment
        added = keep(
            given,
            name,
            topology,
            blueprint=str(path.absolute()),
            blueprint_dir=str(path.absolute().parent),
            runtime_properties=kept.runtime_properties if kept is not None else {},
        )
    new_key = Keyring(Settings.of(os.environ).keys_file).ensure()
    if as_json:
        say(render_json("deployment", added))
    else:
        _tell(added, new_key=new_key, next_command="plan backup" if repository is None else "backups rebuild")


def _tell(added: Deployment, *, new_key: bool, next_command: str) -> None:
    topology = added.topology
    count = len(topology.instances)
    say(f"deployment {added.name}: {len(topology.nodes)} nodes, {count} instances")
    if new_key:
        say(
            "a key was made for this QUIESCE_HOME; without a copy of it (quiesce keys export) its backups are"
        )
        say("of no use once this directory is lost")
    say(f"next: quiesce {next_command} {added.name}")


def _taken(
    cfy_deployment: str | None, blueprint: str | None, repository: str | None
) -> LocalDeployment | None:
    if cfy_deployment is None:
        return None
    if repository is not None:
        raise UsageError("--from-cfy-local and --from-repository exclude each other: choose one")
    if blueprint is not None:
        raise UsageError("--from-cfy-local brings its own blueprint: leave BLUEPRINT out")
    return read_cfy_local(default_profile(os.environ), cfy_deployment)


@click.group()
def deployments() -> None:
    """List deployments, or forget one."""


@deployments.command("list")
@json_option
def list_deployments(as_json: bool) -> None:
    """List the deployments that were initialized here."""
    with services() as given:
        found = given.deployments.list()
    say(render_json("deployments", found) if as_json else deployments_text(found))


@deployments.command("remove")
@click.argument("deployment", shell_complete=deployment_names)
@click.option("--force", is_flag=True, help="Even when restore points would be forgotten.")
def remove(deployment: str, force: bool) -> None:
    """Forget DEPLOYMENT: its topology, executions and catalog. Nothing on any platform is touched."""
    with services() as given:
        remove_deployment(given, deployment, force=force)
    say(f"deployment {deployment} is forgotten")
