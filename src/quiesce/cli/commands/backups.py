"""backups list, show, verify, prune and rebuild."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import click

from quiesce.app.points.browse import extracted_file, list_stored
from quiesce.app.points.former import kept_states
from quiesce.app.points.naming import point_named
from quiesce.app.points.prove import prove as prove_point
from quiesce.app.points.prune import plan_pruning, remove_unkept
from quiesce.app.points.rebuild import rebuild as rebuild_catalog
from quiesce.app.points.verify import unreachable_error
from quiesce.app.points.verify import verify as verify_point
from quiesce.app.run.execution import Watching
from quiesce.app.run.run import run_workflow
from quiesce.bootstrap import Settings
from quiesce.cli.commands.workflows import follow
from quiesce.cli.console import CheckLine
from quiesce.cli.names import deployment_names, point_names
from quiesce.cli.printing import say
from quiesce.cli.retention import retention_options
from quiesce.cli.session import json_option, on_terminal, services
from quiesce.cli.values import read_stored_path
from quiesce.errors import DamagedError, ExitStatus, QuiesceError
from quiesce.files.durable import new_file, storage_errors
from quiesce.model.request import WorkflowRequest
from quiesce.model.retention import RetentionPolicy
from quiesce.reports.escaping import printable_lines
from quiesce.reports.json import render_json, render_json_line
from quiesce.reports.text import (
    former_text,
    listing_text,
    point_text,
    points_text,
    rebuilt_text,
    retention_text,
    verification_text,
)


@click.group()
def backups() -> None:
    """Look at restore points, check them, and remove those that a rule does not keep."""


@backups.command("list")
@click.argument("deployment", required=False, shell_complete=deployment_names)
@json_option
def list_points(deployment: str | None, as_json: bool) -> None:
    """List restore points with their consistency, and when each was last verified."""
    with services() as given:
        found = given.deployments.get(deployment) if deployment else None
        points = given.catalog.list(found.name if found else None)
        former = kept_states(given, found) if found else {}
        now = given.clock.now()
    if as_json:
        say(render_json("restore_points", points))
        return
    say(points_text(points, now))
    for instance, state in former.items():
        say(former_text(instance, state))


@backups.command("show")
@click.argument("deployment", shell_complete=deployment_names)
@click.argument("name", shell_complete=point_names)
@json_option
def show(deployment: str, name: str, as_json: bool) -> None:
    """Show one restore point: its artifacts, its consistency and why, its frozen window, its proofs.

    NAME is "latest" for the newest good one.
    """
    with services() as given:
        point = point_named(given, given.deployments.get(deployment).name, name)
    say(render_json("restore_point", point) if as_json else point_text(point))


@backups.command("verify")
@click.argument("deployment", shell_complete=deployment_names)
@click.argument("name", shell_complete=point_names)
@json_option
def verify(deployment: str, name: str, as_json: bool) -> int:
    """Read a restore point's stored data again and compare every checksum; the result is kept as a proof.

    NAME is "latest" for the newest good one.
    """
    line = CheckLine(shown=on_terminal() and not as_json)
    with services() as given:
        try:
            point, found = verify_point(given, deployment, name, line)
        finally:
            line.end()
    if as_json:
        told = {
            "restore_point": point,
            "results": found.results,
            "damages": found.damages,
            "unreachable": found.unreachable,
        }
        say(render_json("verification", told))
    else:
        say(verification_text(point, found.results, found.manifest, found.unreachable))
    if found.damages:
        raise DamagedError(f"{point.name} is damaged: {', '.join(found.damages)}")
    if found.unreachable:
        raise unreachable_error(point, found)
    return ExitStatus.OK


@backups.command("ls")
@click.argument("deployment", shell_complete=deployment_names)
@click.argument("name", shell_complete=point_names)
@click.argument("instance", required=False)
@click.argument("path", default="")
@json_option
def list_files(deployment: str, name: str, instance: str | None, path: str, as_json: bool) -> None:
    """List what a restore point holds: its parts, or the files in PATH of the part of INSTANCE.

    NAME is "latest" for the newest good one; INSTANCE may be the name of its node.

    \b
    Example:
      quiesce backups ls shop latest
      quiesce backups ls shop latest files uploads/2027
    """
    with services() as given:
        if instance is None:
            point = point_named(given, given.deployments.get(deployment).name, name)
            held = [artifact.instance for artifact in point.artifacts]
            say(render_json("parts", held) if as_json else "\n".join(held))
            return
        listing = list_stored(given, deployment, name, instance, read_stored_path(path))
    if as_json:
        told = [{**asdict(each), "path": os.fsdecode(each.path)} for each in listing.entries]
        told = [{**each, "target": os.fsdecode(each["target"])} for each in told]
        say(render_json("entries", {"entries": told, "left_out": listing.left_out}))
    else:
        say(listing_text(listing))


@backups.command("extract")
@click.argument("deployment", shell_complete=deployment_names)
@click.argument("name", shell_complete=point_names)
@click.argument("instance")
@click.argument("path")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A new file, yours alone; default: its own name, here. '-': standard output.",
)
def extract_file(deployment: str, name: str, instance: str, path: str, output: Path | None) -> None:
    """Take one file out of a restore point. It is read as a whole and checked before anything is written.

    For whole trees: quiesce restore DEPLOYMENT --target DIRECTORY.

    \b
    Example:
      quiesce backups extract shop latest files uploads/2027/photo.jpg
      quiesce backups extract shop nightly files shop.conf -o - | less
    """
    wanted = read_stored_path(path)
    with services() as given, extracted_file(given, deployment, name, instance, wanted) as file:
        if output == Path("-"):
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        where = (output or Path(os.fsdecode(wanted.rpartition(b"/")[2]))).absolute()
        with storage_errors(f"write {where}"), new_file(where) as out:
            shutil.copyfileobj(file, out)
        say(f"{printable_lines(path)} is in {where}")


@backups.command("prove")
@click.argument("deployment", shell_complete=deployment_names)
@click.argument("name", default="latest", shell_complete=point_names)
@click.option("--check", default="", metavar="COMMAND", help="Run there afterwards; status 0: all is well.")
@click.option(
    "--in",
    "scratch",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Where to restore it on trial; default: proofs below QUIESCE_HOME.",
)
@json_option
def prove(deployment: str, name: str, check: str, scratch: Path | None, as_json: bool) -> int:
    """Restore a restore point into a scratch directory, check it there, measure it, and remove it again.

    The deployment is not touched. The result is kept as a proof. NAME is "latest" unless it is given. The
    command of --check runs in the directory with one entry for each instance ($QUIESCE_RESTORED).

    \b
    Example:
      quiesce backups prove shop
      quiesce backups prove shop nightly --check 'test -s files_*/orders.db'
    """
    where = scratch.absolute() if scratch is not None else Settings.of(os.environ).proofs
    with services() as given:

        def run(request: WorkflowRequest) -> QuiesceError | None:
            return run_workflow(given, request, Watching()).error

        proven = prove_point(given, deployment, name, run, scratch=where, check=check)
    if as_json:
        say(render_json("proof", {"restore_point": proven.point.name, "proof": proven.proof}))
    else:
        say(f"{printable_lines(proven.point.name)} is proven: {printable_lines(proven.proof.detail)}")
    return ExitStatus.OK


@backups.command("prune")
@click.argument("deployment", shell_complete=deployment_names)
@retention_options
@click.option("--type", "of_type", metavar="TYPE", help="Look only at those made with this snapshot_type.")
@click.option("--yes", is_flag=True, help="Remove those that no rule keeps; without it nothing is changed.")
@json_option
def prune(
    deployment: str,
    policy: RetentionPolicy,
    of_type: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Show which restore points of DEPLOYMENT the rules keep, and why; with --yes, remove the others.

    A restore point is kept when any rule wants it. Snapshots, backups, and restore points of other instances
    are counted apart. The last good one of each is always kept. Each removal is a remove_backup of its own.

    \b
    Example:
      quiesce backups prune shop --keep-last 3 --keep-daily 7 --keep-weekly 4
      quiesce backups prune shop --keep-within 30d --yes
    """
    with services() as given:
        plan = plan_pruning(given, deployment, replace(policy, type=of_type))
        if as_json:
            say((render_json_line if yes else render_json)("retention", plan))
        else:
            say(retention_text(plan))
        if yes:
            remove_unkept(
                given,
                plan,
                lambda request: follow(lambda w: run_workflow(given, request, w), as_json=as_json),
            )
        elif plan.to_remove and not as_json:
            say(f"nothing was removed; to remove {len(plan.to_remove)}, say --yes")
    return ExitStatus.OK


@backups.command("rebuild")
@click.argument("deployment", shell_complete=deployment_names)
@json_option
def rebuild(deployment: str, as_json: bool) -> int:
    """Put the backups that DEPLOYMENT's repositories hold back into the catalog, after the database was lost.

    Manifests are read, the data is not: verify what was found before you rely on it. What is damaged,
    incomplete or another deployment's is listed and left out.

    \b
    Example:
      quiesce init shop.yaml -b shop -i inputs.yaml --from-repository /backups
      quiesce backups rebuild shop
      quiesce backups verify shop nightly
    """
    with services() as given:
        rebuilt = rebuild_catalog(given, deployment)
    say(render_json("rebuilt", rebuilt) if as_json else rebuilt_text(rebuilt))
    damaged = [each for each in rebuilt.left_out if each.damaged]
    if damaged:
        raise DamagedError(f"{len(damaged)} of what was found cannot be trusted and is left out")
    return ExitStatus.OK
