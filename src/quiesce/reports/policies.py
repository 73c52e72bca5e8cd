"""Policies as plain text, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quiesce.model.ids import DeploymentName
from quiesce.model.policy import ChoreState, DueReport, DueRun, PolicyRun, PolicyState, RunState
from quiesce.reports.escaping import printable, printable_lines
from quiesce.reports.text import moment, table


def policies_text(states: Sequence[PolicyState], unprotected: Sequence[DeploymentName]) -> str:
    """Return a table of policies; deployments without one are named below it."""
    rows = [
        (
            state.policy.deployment,
            state.policy.name,
            state.policy.rules.kind.value,
            state.policy.rules.schedule,
            "never" if state.last_good is None else moment(state.last_good.due_at),
            moment(state.next_due_at),
            _standing(state),
        )
        for state in states
    ]
    heads = ("deployment", "policy", "kind", "schedule", "last good run", "next run", "state")
    lines = [table(heads, rows)] if rows else ["there are no policies; make one: quiesce policy set"]
    if unprotected:
        lines.append(f"without a policy: {', '.join(unprotected)}")
    return printable_lines("\n".join(lines))


def policy_text(state: PolicyState, runs: Sequence[PolicyRun]) -> str:
    """Return one policy: its keys, how it stands, and its last runs."""
    return "\n".join(map(printable_lines, _policy_lines(state, runs)))


def _policy_lines(state: PolicyState, runs: Sequence[PolicyRun]) -> Iterator[str]:
    policy = state.policy
    yield f"{policy.name} of {policy.deployment}: {_standing(state)}"
    for key, value in policy.given.items():
        yield f"  {key}: {value}"
    yield f"  next run: {moment(state.next_due_at)}"
    for chore in state.chores:
        good = "never" if chore.last_good_at is None else moment(chore.last_good_at)
        yield f"  last good {chore.kind}: {good}{_chore_trouble(chore)}"
    for run in runs:
        missed = f", {run.missed_before} before it were missed" if run.missed_before else ""
        message = f": {printable(run.message)}" if run.message else ""
        yield f"  {moment(run.due_at)}  {run.state}{missed}{message}"


def _chore_trouble(chore: ChoreState) -> str:
    failed = f"; FAILED: {printable(chore.last.message)}" if chore.failed and chore.last is not None else ""
    overdue = "" if chore.overdue_since is None else f"; OVERDUE since {moment(chore.overdue_since)}"
    return failed + overdue


def _chore_standing(chore: ChoreState) -> str:
    if chore.failed:
        return f"{chore.kind} FAILED"
    return "" if chore.overdue_since is None else f"{chore.kind} OVERDUE since {moment(chore.overdue_since)}"


def _standing(state: PolicyState) -> str:
    if state.overdue_since is not None:
        return f"OVERDUE since {moment(state.overdue_since)}"
    if trouble := next(filter(None, map(_chore_standing, state.chores)), ""):
        return trouble
    if state.last is None:
        return "waits for its first run"
    return {RunState.FAILED: "FAILED", RunState.RUNNING: "runs"}.get(state.last.state, "good")


def due_text(report: DueReport, *, quiet: bool) -> str:
    """Return what came of what was due; empty when there is nothing to say."""
    lines = [line for each in report.runs for line in _run_lines(each) if each.errors or not quiet]
    lines += report.untold
    if not quiet:
        lines += [f"{name}: another process runs what is due" for name in report.busy]
    return "\n".join(map(printable_lines, lines))


def _run_lines(due: DueRun) -> Iterator[str]:
    run = due.run
    whose = f"{run.policy} of {run.deployment}, due {moment(run.due_at)}"
    missed = f"; {run.missed_before} before it were missed" if run.missed_before else ""
    yield f"{whose}: {run.state}{missed}"
    for error in due.errors:
        yield f"  {error} [{error.code}]"
        if error.hint:
            yield f"  hint: {error.hint}"
    if due.removed:
        yield f"  removed: {', '.join(due.removed)}"
    if due.told:
        yield f"  {due.told}"
    if due.verified:
        yield f"  read again and found good: {due.verified}"
