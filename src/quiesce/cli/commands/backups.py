"""backups list, show and verify."""

from __future__ import annotations

import click

from quiesce.app.proving import verify as verify_point
from quiesce.cli.session import json_option, services
from quiesce.errors import DamagedError, ExitStatus
from quiesce.reports.json import render_json
from quiesce.reports.text import point_text, points_text


@click.group()
def backups() -> None:
    """Look at restore points and check them."""


@backups.command("list")
@click.argument("deployment", required=False)
@json_option
def list_points(deployment: str | None, as_json: bool) -> None:
    """List restore points: what each is worth, and when it was last proven."""
    with services() as given:
        name = given.deployments.get(deployment).name if deployment else None
        points = given.catalog.list(name)
    click.echo(render_json("restore_points", points) if as_json else points_text(points))


@backups.command("show")
@click.argument("deployment")
@click.argument("name")
@json_option
def show(deployment: str, name: str, as_json: bool) -> None:
    """Show one restore point: its artifacts, its consistency and why, its frozen window, its proofs."""
    with services() as given:
        point = given.catalog.get(given.deployments.get(deployment).name, name)
    click.echo(render_json("restore_point", point) if as_json else point_text(point))


@backups.command("verify")
@click.argument("deployment")
@click.argument("name")
@json_option
def verify(deployment: str, name: str, as_json: bool) -> int:
    """Read a restore point's stored data again and compare every checksum; the result is kept as a proof."""
    with services() as given:
        point, results = verify_point(given, deployment, name)
    if as_json:
        click.echo(render_json("verification", {"restore_point": point, "results": results}))
    for instance, proof in results.items():
        if proof is None and not as_json:
            click.echo(f"{instance}: its provider has nothing to check without restoring")
        elif proof is not None and not as_json:
            click.echo(f"{instance}: {'good' if proof.passed else 'DAMAGED'} {proof.detail}")
    damaged = [instance for instance, proof in results.items() if proof is not None and not proof.passed]
    if damaged:
        raise DamagedError(f"{name} is damaged: {', '.join(damaged)}")
    return ExitStatus.OK
