"""plan, and a command for each workflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from quiesce.app.run.execution import Watching
from quiesce.app.run.run import Result, new_execution_id, preview, run_workflow
from quiesce.app.services import Services
from quiesce.cli.console import CheckLine, EventLines, LiveProgress, Signals
from quiesce.cli.names import deployment_names, point_names, workflow_names
from quiesce.cli.printing import say
from quiesce.cli.session import json_option, on_terminal, services
from quiesce.cli.values import read_assignments
from quiesce.cli.watching import WATCH_OPTIONS, WatchedSeries, watch
from quiesce.errors import ExitStatus, UsageError
from quiesce.model.execution import Execution
from quiesce.model.ids import Json
from quiesce.model.plan import Plan
from quiesce.model.report import ExecutionReport
from quiesce.model.request import WorkflowRequest
from quiesce.planning import WORKFLOWS, Workflow, default_of, parameters_of, workflow_named
from quiesce.planning.parameters import Parameter, Switch
from quiesce.reports.escaping import printable_lines
from quiesce.reports.json import render_json, render_json_line
from quiesce.reports.text import execution_text, plan_text


@click.command()
@click.argument("workflow", shell_complete=workflow_names)
@click.argument("deployment", shell_complete=deployment_names)
@click.option("-p", "--parameter", "assignments", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--allow-custom-parameters", is_flag=True, help="Accept parameters that are not declared.")
@json_option
def plan(
    workflow: str, deployment: str, assignments: tuple[str, ...], allow_custom_parameters: bool, as_json: bool
) -> int:
    """Show what WORKFLOW would do to DEPLOYMENT, and the predicted frozen window. Touches nothing.

    \b
    Example:
      quiesce plan backup shop -p snapshot_incremental=false
    """
    request = WorkflowRequest(
        deployment=deployment,
        workflow=workflow,
        parameters=read_assignments(assignments),
        allow_custom_parameters=allow_custom_parameters,
    )
    with services() as given:
        return show_plan(given, request, as_json=as_json)


def show_plan(given: Services, request: WorkflowRequest, *, as_json: bool) -> int:
    """Print the plan of *request*, and why it would be refused; return the exit status that it would have."""
    report = preview(given, request)
    say(render_json("plan", report) if as_json else plan_text(report))
    if report.refused is None:
        return ExitStatus.OK
    say(f"quiesce: {printable_lines(report.refused.message)} [{report.refused.code}]", err=True)
    if report.refused.hint:
        say(f"  hint: {printable_lines(report.refused.hint)}", err=True)
    return report.refused.exit_status


def start(request: WorkflowRequest, *, dry_run: bool, as_json: bool, quiet: bool = False) -> int:
    """Run *request* (or show its plan) and return the exit status."""
    freezing = workflow_named(request.workflow).freezes
    with services(freezing=freezing and not dry_run) as given:
        if dry_run:
            return show_plan(given, request, as_json=as_json)
        return follow(lambda watching: run_workflow(given, request, watching), as_json=as_json, quiet=quiet)


def follow(
    run: Callable[[Watching], Result], *, as_json: bool, quiet: bool = False, expected: str | None = None
) -> int:
    """Run something that can be watched and cancelled; print its report; return the exit status.

    An error of code *expected* is what was asked for. With *quiet*, only what is wrong is printed.
    """
    live = on_terminal() and not (as_json or quiet)
    listener = LiveProgress() if live else EventLines(as_json=as_json, alarming_only=quiet)
    line = CheckLine(shown=live)

    def started(execution: Execution, plan: Plan) -> None:
        line.end()
        listener.started(execution, plan)

    with Signals().caught() as signals:
        try:
            result = run(
                Watching(
                    listener=listener,
                    on_started=started,
                    on_checking=line,
                    cancel_asked=signals.cancel_asked,
                    on_wake=signals.on_wake,
                )
            )
        finally:
            line.end()
            if isinstance(listener, LiveProgress):
                listener.stopped()
    if as_json:
        say(render_json_line("report", result.report))
    elif live:
        say(execution_text(result.report))
    elif result.error is None and result.report.execution.message:
        say(f"quiesce: {printable_lines(result.report.execution.message)}", err=True)
    if result.error is None and not (as_json or quiet):
        _tell_what_it_is(result.report)
    if result.error is not None and result.error.code != expected:
        raise result.error
    return ExitStatus.OK


def _tell_what_it_is(report: ExecutionReport) -> None:
    """Say what a snapshot is not, where somebody has just asked for a backup."""
    workflow, deployment = workflow_named(report.execution.workflow), report.execution.deployment
    if workflow.makes_point and any(not point.full and not point.safety for point in report.points):
        say(
            f"quiesce: that is a snapshot, on the storage of what it was taken of, and does not survive it; "
            f"a full copy: quiesce {workflow.command} --full {deployment}",
            err=True,
        )


def workflow_command(name: str) -> click.Command | None:
    """Return the command that runs the workflow called *name* on the command line; None: there is none."""
    row = next((row for row in WORKFLOWS.values() if row.command == name and row.option_of is None), None)
    return None if row is None else _command(row)


def _command(workflow: Workflow) -> click.Command:
    variants = _variants(workflow)
    switches = [(each, each.switch) for each in parameters_of(workflow.name) if each.switch is not None]
    declared = {each.name: each for row in (workflow, *variants.values()) for each in parameters_of(row.name)}

    def run(deployment: str, assignments: tuple[str, ...], **options: Any) -> int:
        dry_run, as_json_, quiet = (options.pop(name) for name in ("dry_run", "as_json", "quiet"))
        allow_custom = options.pop("allow_custom_parameters")
        said = {**_switched(switches, options), **read_assignments(assignments)}
        chosen = [row for option, row in variants.items() if _is_asked(option.replace("-", "_"), options)]
        if len(chosen) > 1:
            raise UsageError("give one of " + ", ".join(f"--{option}" for option in variants))
        series, queue = WatchedSeries.of(options), options.pop("queue")
        here = options.pop("here", False)
        given = {
            name: _as_given(declared[name], value) for name, value in options.items() if value is not None
        }
        request = WorkflowRequest(
            deployment=deployment,
            workflow=chosen[0].name if chosen else workflow.name,
            parameters={**given, **said},
            allow_custom_parameters=allow_custom,
            here=here,
        )
        if series is not None and not dry_run:
            return watch(request, series, as_json=as_json_)
        if queue is not None and not dry_run:
            return _send(request, queue, as_json=as_json_)
        return start(request, dry_run=dry_run, as_json=as_json_, quiet=quiet)

    example = f"quiesce {workflow.command} shop {workflow.example}"
    options = [
        click.Option(
            [f"--{parameter.name.replace('_', '-')}", parameter.name],
            metavar="VALUE",
            help=parameter.help + _default_text(default_of(parameter, workflow.name)),
            shell_complete=point_names if parameter.names_point else None,
        )
        for parameter in declared.values()
    ]
    flags = [
        click.Option([f"--{option}"], is_flag=True, help=row.help)
        for option, row in variants.items()
        if option not in declared
    ]
    flags += [
        click.Option([f"--{switch.option}"], is_flag=True, help=f"The same as {_words(parameter, switch)}.")
        for parameter, switch in switches
    ]
    return click.Command(
        workflow.command,
        callback=run,
        params=[
            click.Argument(["deployment"], shell_complete=deployment_names),
            click.Option(
                ["-p", "--parameter", "assignments"],
                multiple=True,
                metavar="NAME=VALUE",
                help="A parameter, as in cfy; the options below say the same.",
            ),
            *flags,
            *(WATCH_OPTIONS if workflow.measures else ()),
            *options,
            click.Option(
                ["--allow-custom-parameters"],
                is_flag=True,
                help="Accept parameters that are not declared, and hand them to operations.",
            ),
            click.Option(["--dry-run"], is_flag=True, help="Show the plan; touch nothing."),
            *(_here_options(workflow)),
            click.Option(
                ["--queue"], metavar="NAME", help="Let a worker of this queue run it: quiesce worker."
            ),
            click.Option(["-q", "--quiet"], is_flag=True, help="Print nothing but what is wrong."),
            click.Option(["--json", "as_json"], is_flag=True, help="Print events and report as JSON lines."),
        ],
        help=f"{workflow.help}\n\n\b\nExample:\n  {example.rstrip()}",
    )


def _here_options(workflow: Workflow) -> Sequence[click.Option]:
    if not (workflow.takes_points or workflow.takes_former):
        return ()
    told = "Do it on this machine, although another one made what it works on."
    return [click.Option(["--here"], is_flag=True, help=told)]


def _send(request: WorkflowRequest, queue: str, *, as_json: bool) -> int:
    from quiesce.cli.commands.cluster import send  # few have workers

    with services(warn=False) as given:
        given.deployments.get(request.deployment)
        execution = new_execution_id(given, workflow_named(request.workflow))
    send(request, execution, queue)
    say(render_json("queued", {"execution": execution, "queue": queue}) if as_json else execution)
    return ExitStatus.OK


def _variants(workflow: Workflow) -> Mapping[str, Workflow]:
    """Return the workflows that are called by an option of *workflow*'s command, by that option."""
    options = [(row.option_of, row) for row in WORKFLOWS.values()]
    return {called[1]: row for called, row in options if called is not None and called[0] == workflow.name}


def _is_asked(option: str, options: dict[str, Any]) -> bool:
    """Tell whether *option* was given; a mere flag is taken away: it is no parameter."""
    value = options[option]
    if isinstance(value, bool):
        del options[option]
        return value
    return value is not None


def _switched(switches: Sequence[tuple[Parameter, Switch]], options: dict[str, Any]) -> dict[str, Json]:
    """Take the switches out of *options*, and return the parameters that they stand for."""
    said: dict[str, Json] = {}
    for parameter, switch in switches:
        if options.pop(switch.option):
            if options[parameter.name] is not None:
                raise UsageError(f"give one of --{switch.option} and --{parameter.name.replace('_', '-')}")
            said[parameter.name] = switch.value
    return said


def _words(parameter: Parameter, switch: Switch) -> str:
    return f"--{parameter.name.replace('_', '-')} {json.dumps(switch.value)}"


def _as_given(parameter: Parameter, value: str) -> Json:
    return str(Path(value).absolute()) if parameter.path else value


def _default_text(default: Json) -> str:
    if default is None:
        return ""
    return f"  [default: {str(default).lower() if isinstance(default, bool) else default}]"
