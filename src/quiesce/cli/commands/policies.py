"""policy set, apply, show, list and remove; run-due; metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from quiesce.app.metrics import samples
from quiesce.app.policies.due import state_of, unprotected
from quiesce.app.policies.policies import changed, keep_policies, policy_named, read_policy
from quiesce.app.policies.running import run_due as run_all_due
from quiesce.app.policies.running import tell_on_trial
from quiesce.app.run.execution import Watching
from quiesce.app.run.run import Result, run_workflow
from quiesce.app.services import Services
from quiesce.cli.console import EventLines, Signals
from quiesce.cli.names import deployment_names
from quiesce.cli.printing import say
from quiesce.cli.session import json_option, services
from quiesce.cli.values import read_assignments, read_mapping_file
from quiesce.errors import ExitStatus, PlanError, QuiesceError, UsageError
from quiesce.files.durable import write_durably
from quiesce.model.options import options_of
from quiesce.model.policy import DueReport, Policy, PolicyRules
from quiesce.model.records import Record
from quiesce.model.request import WorkflowRequest
from quiesce.reports.json import render_json, render_json_line
from quiesce.reports.policies import due_text, policies_text, policy_text
from quiesce.reports.prometheus import alert_rules, grafana_dashboard, render_metrics


@click.group()
def policy() -> None:
    """Say what is to happen by itself: when, what is kept, and who is told of trouble.

    \b
    Example:
      quiesce policy set shop nightly schedule='30 2 * * *' kind=backup keep_daily=7
      quiesce policy list
      quiesce schedule install
    """


@policy.command(
    "set", epilog="\b\n" + "\n".join(f"{each.name}: {each.help}" for each in options_of(PolicyRules))
)
@click.argument("deployment", shell_complete=deployment_names)
@click.argument("name")
@click.argument("keys", nargs=-1, metavar="KEY=VALUE...")
def set_policy(deployment: str, name: str, keys: tuple[str, ...]) -> None:
    """Make the policy NAME of DEPLOYMENT, or change keys of it; KEY=null takes a key away.

    \b
    Example:
      quiesce policy set shop nightly schedule='30 2 * * *' kind=backup keep_daily=7 at_least=filesystem
    """
    with services() as given:
        keep_policies(given, [changed(given, deployment, name, read_assignments(keys))])
        _show(given, deployment, as_json=False)


@policy.command("apply")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Read and check it; keep nothing.")
def apply(file: Path, check: bool) -> None:
    """Make the policies that FILE (YAML) describes, each instead of the one of its name; all or none.

    \b
    Example of a file:
      policies:
        - deployment: shop
          name: nightly
          schedule: '30 2 * * *'
          kind: backup
          keep_daily: 7
          at_least: filesystem
          verify_every: 7d
          notify: [operators]
    """
    with services() as given:
        policies = [_described(given, each) for each in _listed(file)]
        if not check:
            keep_policies(given, policies)
        say(
            f"{len(policies)} policies {'are right' if check else 'kept'}: "
            + ", ".join(f"{each.name} of {each.deployment}" for each in policies)
        )


@policy.command("show")
@click.argument("deployment", shell_complete=deployment_names)
@json_option
def show(deployment: str, as_json: bool) -> None:
    """Show the policies of DEPLOYMENT: their keys, the last runs, what is due next."""
    with services() as given:
        _show(given, deployment, as_json=as_json)


@policy.command("list")
@json_option
def list_policies(as_json: bool) -> None:
    """List all policies: last good run, next run, what is overdue; and which deployments have none."""
    with services() as given:
        states = [state_of(given, each) for each in given.policies.list()]
        without = unprotected(given)
    if as_json:
        say(render_json("policies", {"policies": states, "unprotected": without}))
    else:
        say(policies_text(states, without))


@policy.command("test")
@click.argument("deployment", shell_complete=deployment_names)
@click.argument("name")
def test_policy(deployment: str, name: str) -> None:
    """Send a message to all whom the policy NAME tells of trouble, and say whether it was accepted.

    The URL of dead_man is not called: that would tell whoever waits for it that all is well.
    """
    with services() as given:
        found = policy_named(given, deployment, name)
        failures = tell_on_trial(given, found)
    if not found.rules.notify:
        raise PlanError(
            f"{name} of {deployment} tells nobody of trouble",
            hint=f"quiesce policy set {deployment} {name} notify=SECRET",
        )
    if failures:
        raise PlanError("; ".join(failures))
    say(f"accepted by {', '.join(found.rules.notify)}: look whether it has arrived")


@policy.command("remove")
@click.argument("deployment", shell_complete=deployment_names)
@click.argument("name")
def remove(deployment: str, name: str) -> None:
    """Forget a policy. What it made stays: 'quiesce backups list' shows it."""
    with services() as given:
        given.policies.remove(given.deployments.get(deployment).name, name)
    say(f"{name} of {deployment} is forgotten; its restore points stay")


@click.command("run-due")
@click.option("-q", "--quiet", is_flag=True, help="Print only what went wrong.")
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path),
    help="Write metrics there afterwards, for the text file collector of Prometheus's node exporter.",
)
@json_option
def run_due(quiet: bool, metrics_file: Path | None, as_json: bool) -> int:
    """Run what the policies say is due now, once; for a timer to call every few minutes.

    Any number of them may run at the same time: no run happens twice. What was missed while the machine was
    off is made up for once. Nothing is printed when nothing is due.

    \b
    Example:
      quiesce run-due
      quiesce run-due --quiet --metrics-file /var/lib/node_exporter/quiesce.prom
    """
    with services(freezing=False) as given:
        report = _run_due(given, quiet=quiet, as_json=as_json)
        if metrics_file is not None:
            _publish(metrics_file, _metrics(given))
    if as_json:
        say(render_json_line("due", report))
    elif text := due_text(report, quiet=quiet):
        say(text)
    if report.errors:
        raise worst(report.errors)
    return ExitStatus.OK


@click.command()
@click.option(
    "--dashboard", is_flag=True, help="Print a dashboard for Grafana instead, to be imported there."
)
@click.option("--alerts", is_flag=True, help="Print alert rules for Prometheus instead.")
def metrics(dashboard: bool, alerts: bool) -> None:
    """Print figures of all deployments in Prometheus's text format.

    \b
    Example:
      quiesce metrics
      quiesce metrics --dashboard > quiesce.json
      quiesce metrics --alerts > /etc/prometheus/quiesce.yaml
    """
    if dashboard and alerts:
        raise UsageError("give one of --dashboard and --alerts")
    if dashboard or alerts:
        say((grafana_dashboard() if dashboard else alert_rules()).rstrip("\n"))
        return
    with services() as given:
        say(_metrics(given).rstrip("\n"))


class NoLines(EventLines):
    """Follows an execution and prints nothing."""

    def __call__(self, records: Sequence[Record]) -> None:
        """Print nothing."""


def worst(errors: tuple[QuiesceError, ...]) -> QuiesceError:
    """Return the error that a script should hear of: what may be frozen first."""
    return next((each for each in errors if each.exit_status is ExitStatus.FROZEN), errors[0])


def _run_due(given: Services, *, quiet: bool, as_json: bool) -> DueReport:
    with Signals().caught() as signals:

        def run(request: WorkflowRequest) -> Result:
            listener = NoLines() if quiet else EventLines(as_json=as_json)
            watching = Watching(
                listener=listener,
                on_started=listener.started,
                cancel_asked=signals.cancel_asked,
                on_wake=signals.on_wake,
            )
            return run_workflow(given, request, watching)

        return run_all_due(given, run)


def _metrics(given: Services) -> str:
    return render_metrics((each.metric, each.labels, each.value) for each in samples(given))


def _publish(path: Path, text: str) -> None:
    """Put *text* where others may read it, all of it at once."""
    unfinished = path.with_name(f".{path.name}.quiesce")
    try:
        write_durably(unfinished, text.encode())
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except OSError as error:
        raise UsageError(f"metrics cannot be written to {path}: {error.strerror}") from error


def _show(given: Services, deployment: str, *, as_json: bool) -> None:
    name = given.deployments.get(deployment).name
    shown = [(state_of(given, each), given.policies.runs(each, 10)) for each in given.policies.list(name)]
    if as_json:
        say(render_json("policies", [{"policy": state, "runs": runs} for state, runs in shown]))
    else:
        say("\n\n".join(policy_text(state, runs) for state, runs in shown) or f"{name} has no policy")


def _listed(file: Path) -> list[Any]:
    listed = read_mapping_file(file)
    unknown = sorted(listed.keys() - {"policies"})
    policies = listed.get("policies")
    if unknown or not isinstance(policies, list):
        raise UsageError(
            f"{file} must hold one key, policies, with a list" + (f"; not {unknown[0]!r}" if unknown else "")
        )
    return policies


def _described(given: Services, each: Any) -> Policy:
    named = isinstance(each, dict) and all(isinstance(key, str) for key in each)
    if not named or not {"deployment", "name"} <= each.keys():
        raise UsageError("each policy is a mapping with deployment, name and schedule")
    rules = {key: value for key, value in each.items() if key not in ("deployment", "name")}
    return read_policy(given, str(each["deployment"]), each["name"], rules)
