"""executions start, list, show, cancel and resume; events; report; recover."""

from __future__ import annotations

import time
from pathlib import Path

import click

from quiesce.app.run.execution import Watching
from quiesce.app.run.measured import measured_around
from quiesce.app.run.recover import find_unfinished
from quiesce.app.run.recover import recover as recover_all
from quiesce.app.run.report import report_execution
from quiesce.app.run.run import cancel, continue_execution, give_up
from quiesce.app.run.tidy import forget, forgettable
from quiesce.app.services import Services
from quiesce.cli.commands.workflows import follow, start
from quiesce.cli.names import deployment_names, execution_names, workflow_names
from quiesce.cli.printing import say
from quiesce.cli.session import here_option, json_option, services
from quiesce.cli.values import read_age, read_assignments
from quiesce.engine import Purpose
from quiesce.errors import DamagedPlanError, ExitStatus, NotThawedError
from quiesce.files.declared import write_declared
from quiesce.files.durable import storage_errors
from quiesce.model.execution import ExecutionState
from quiesce.model.history import History
from quiesce.model.ids import Json
from quiesce.model.report import ExecutionReport
from quiesce.model.request import WorkflowRequest
from quiesce.planning import workflow_named
from quiesce.reports.events import Events
from quiesce.reports.json import render_json, render_json_line
from quiesce.reports.text import execution_text, executions_text

#: how often a followed execution is looked at, in seconds
_FOLLOW_S = 0.2


@click.group()
def executions() -> None:
    """Start, list, look at, cancel and resume executions."""


@executions.command("start")
@click.argument("workflow", shell_complete=workflow_names)
@click.option("-b", "--deployment", required=True, metavar="NAME", shell_complete=deployment_names)
@click.option("-p", "--parameter", "assignments", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--allow-custom-parameters", is_flag=True, help="Accept parameters that are not declared.")
@click.option("--task-retries", type=int, help="How often a failed operation is retried; -1: without end.")
@click.option("--task-retry-interval", type=float, help="Seconds between tries.")
@click.option("--dry-run", is_flag=True, help="Show the plan; touch nothing.")
@json_option
def start_execution(
    workflow: str,
    deployment: str,
    assignments: tuple[str, ...],
    allow_custom_parameters: bool,
    task_retries: int | None,
    task_retry_interval: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run WORKFLOW, with the options that cfy has.

    \b
    Example:
      quiesce executions start backup -b shop -p snapshot_name=nightly --task-retries 30
    """
    parameters: dict[str, Json] = dict(read_assignments(assignments))
    if task_retries is not None:
        parameters["task_retries"] = task_retries
    if task_retry_interval is not None:
        parameters["task_retry_interval"] = task_retry_interval
    request = WorkflowRequest(
        deployment=deployment,
        workflow=workflow,
        parameters=parameters,
        allow_custom_parameters=allow_custom_parameters,
    )
    return start(request, dry_run=dry_run, as_json=as_json)


@executions.command("list")
@click.argument("deployment", required=False, shell_complete=deployment_names)
@json_option
def list_executions(deployment: str | None, as_json: bool) -> None:
    """List executions, oldest first; of DEPLOYMENT only, when it is named."""
    with services() as given:
        name = given.deployments.get(deployment).name if deployment else None
        found = given.executions.list(name)
        dead = [
            unfinished.execution.id
            for unfinished in find_unfinished(given, name)
            if unfinished.execution.state is ExecutionState.RUNNING
        ]
    say(render_json("executions", found) if as_json else executions_text(found, dead))


@executions.command("show")
@click.argument("execution", shell_complete=execution_names)
@json_option
def show_execution(execution: str, as_json: bool) -> None:
    """Show the result of EXECUTION, step by step with --json."""
    with services() as given:
        report = _report(given, execution)
    say(render_json("report", report) if as_json else execution_text(report))


@executions.command("cancel")
@click.argument("execution", shell_complete=execution_names)
@here_option
@click.option(
    "--write-off", is_flag=True, help="Only end it as failed: its machine is gone, or was put right by hand."
)
@json_option
def cancel_execution(execution: str, here: bool, write_off: bool, as_json: bool) -> int:
    """Cancel EXECUTION: nothing new starts, what is frozen is thawed, what is incomplete is removed.

    An execution whose engine has died is rolled back here.
    """
    with services(warn=False) as given:
        if write_off:
            ended = give_up(given, execution)
            say(render_json("execution", ended) if as_json else f"{ended.id} is written off")
            return ExitStatus.OK
        asked = cancel(given, execution)
        if given.leases.holder(asked.deployment) == asked.id:
            say(f"{asked.id} was asked to stop; follow it: quiesce events {asked.id} --follow")
            return ExitStatus.OK
        return follow(
            lambda watching: continue_execution(given, execution, Purpose.ROLL_BACK, watching, here=here),
            as_json=as_json,
            expected="cancelled",
        )


@executions.command("resume")
@click.argument("execution", shell_complete=execution_names)
@here_option
@json_option
def resume_execution(execution: str, here: bool, as_json: bool) -> int:
    """Resume EXECUTION, whose engine has died; where a consistent cut is no longer possible, roll it back."""
    with services(freezing=True, warn=False) as given:
        return follow(
            lambda watching: continue_execution(given, execution, Purpose.FORWARD, watching, here=here),
            as_json=as_json,
        )


@executions.command("prune")
@click.argument("deployment", required=False, shell_complete=deployment_names)
@click.option(
    "--older-than",
    metavar="AGE",
    default="90d",
    help="Forget none younger (36h, 30d, 8w; default: 90d).",
)
@click.option(
    "--keep-last",
    type=click.IntRange(min=1),
    metavar="N",
    default=20,
    help="Keep the last N of each deployment, whatever their age (default: 20).",
)
@click.option("--yes", is_flag=True, help="Forget them; without it nothing is changed.")
@json_option
def prune_executions(
    deployment: str | None, older_than: str, keep_last: int, yes: bool, as_json: bool
) -> None:
    """Show which executions can be forgotten with their events and plans; with --yes, forget them.

    Kept in any case: what has not ended or owes something, what made a restore point that is still there,
    what can be undone, and the last of each workflow. Restore points are not touched.

    \b
    Example:
      quiesce executions prune
      quiesce executions prune shop --older-than 30d --keep-last 50 --yes
    """
    age_s = read_age(older_than)
    with services() as given:
        chosen = [given.deployments.get(deployment)] if deployment else given.deployments.list()
        found = [
            execution
            for one in chosen
            for execution in forgettable(given, one, keep_last=keep_last, older_than_s=age_s)
        ]
        if yes:
            forget(given, found)
    if as_json:
        say(render_json("executions", found))
        return
    say(executions_text(found, ()))
    say(
        f"{len(found)} executions were forgotten"
        if yes
        else f"nothing was changed; to forget {len(found)} executions, say --yes"
    )


@click.command()
@click.argument("execution", shell_complete=execution_names)
@click.option("--follow", "following", is_flag=True, help="Follow until the execution is over.")
@json_option
def events(execution: str, following: bool, as_json: bool) -> None:
    """Print the events of EXECUTION, in the format that users of cfy know."""
    with services() as given:
        found = given.executions.get(execution)
        plan = given.executions.plan(found.id)
        rendered = Events(found, plan, closing=workflow_named(plan.workflow).closing)
        shown = 0
        while True:
            over = given.executions.get(execution).state is not ExecutionState.RUNNING
            records = list(given.executions.journal(found.id).read())
            for record in records[shown:]:
                for event in rendered.of(record):
                    say(render_json_line("event", event) if as_json else str(event))
            shown = len(records)
            if over or not following:
                return
            time.sleep(_FOLLOW_S)


@click.command()
@click.argument("execution", shell_complete=execution_names)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="FILE.html")
def report(execution: str, output: str) -> None:
    """Write a page about EXECUTION: its timeline, what made the window, why the restore point has its class.

    Beside it, how the windows and sizes of its deployment's restore points develop, and what `statistics`
    measured before, during and after it.

    \b
    Example:
      quiesce report backup-a1b2c3d4e5 -o report.html
    """
    from quiesce.reports.html import render_html

    with services() as given:
        found = _report(given, execution)
        page = render_html(
            found,
            given.catalog.list(found.execution.deployment),
            measured_around(given, found.execution),
        )
    with storage_errors(f"write {output}"):
        write_declared(Path(output).absolute(), page.encode())
    say(f"written: {output}")


@click.command()
@click.argument("deployment", required=False, shell_complete=deployment_names)
@json_option
def recover(deployment: str | None, as_json: bool) -> None:
    """Thaw and start all that interrupted executions may have left frozen or stopped.

    Of DEPLOYMENT only, when it is named.
    """
    with services(warn=False) as given:
        name = given.deployments.get(deployment).name if deployment else None
        left = recover_all(given, Watching(by="recover", settle_patience_s=30.0), name)
    if as_json:
        say(render_json("unfinished", left))
    for unfinished in left:
        execution = unfinished.execution
        if unfinished.damage:
            raise DamagedPlanError(unfinished.damage)
        if unfinished.owed:
            where = f" on {unfinished.host}" if unfinished.host else ""
            raise NotThawedError(
                f"{execution.deployment}: {unfinished.owed} ({execution.id}{where})",
                hint=f"Settle it on {unfinished.host}: quiesce recover" if unfinished.host else None,
            )
        if not as_json:
            say(
                f"{execution.id} was interrupted; nothing of it is frozen, and nothing is left stopped. "
                f"Resume it: quiesce executions resume {execution.id}; "
                f"or roll back: quiesce executions cancel {execution.id}"
            )
    if not left and not as_json:
        say("nothing is owed: everything is thawed, and nothing is left stopped")


def _report(given: Services, execution: str) -> ExecutionReport:
    found = given.executions.get(execution)
    plan = given.executions.plan(found.id)
    history = History.of(given.executions.journal(found.id).read())
    return report_execution(found, plan, history, given.catalog.list(found.deployment))
