"""Reports as plain text, for people."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from quiesce.model.cut_size import Basis, CutSize
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.former_state import FormerState, Side
from quiesce.model.ids import InstanceId, Json
from quiesce.model.manifest import Rebuilt
from quiesce.model.report import ExecutionReport, PlanReport, RestorePreview
from quiesce.model.restore_point import CHECKED, ELSEWHERE, PointState, Proof, RestorePoint, Trust
from quiesce.model.retention import RetentionPlan
from quiesce.model.sizes import size_text
from quiesce.model.stored_entry import EntryKind, StoredEntry, StoredListing
from quiesce.reports.critical import critical_path, critical_text
from quiesce.reports.escaping import printable, printable_lines

#: clocks of two machines are never the same
_CLOCKS_DIFFER_S = 60.0
#: how many instances of a group a plan names before it counts the rest
_NAMED = 8


def plan_text(report: PlanReport) -> str:
    """Return *report*: the groups in order, the predicted window, the consistency of each cut."""
    return "\n".join(map(printable_lines, _plan_lines(report)))


def _plan_lines(report: PlanReport) -> Iterator[str]:
    yield f"{report.workflow} of {report.deployment} would run, group after group:"
    for number, (title, steps) in enumerate(report.groups, start=1):
        names = _some(step.instance for step in steps)
        condition = {"settle": "  (whatever happens)", "undo": "  (only if it fails)"}.get(steps[0].role, "")
        yield f"  {number}. {title}: {names}{condition}"
    if report.predicted_window_s:
        yield from _window_lines(report)
    classes = sorted(set(report.consistency.values()))
    for label in classes:
        members = [instance for instance, consistency in report.consistency.items() if consistency == label]
        yield f"consistency that can be reached: {label}: {_some(members)}"
    if report.restore is not None:
        yield from _restore_lines(report.deployment, report.restore)
    yield from _told_of_instances(report)
    for warning in report.warnings:
        yield f"warning: {warning}"


def _some(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - _NAMED} more" if found[_NAMED:] else ""
    return ", ".join(found[:_NAMED]) + more


def _told_of_instances(report: PlanReport) -> Iterator[str]:
    for instance, users in report.users.items():
        yield f"in use: {instance}, by {', '.join(users)}"
    for instance, differences in report.differences.items():
        yield from (f"differs: {instance}, {difference}" for difference in differences)
    for instance, lost in report.lost.items():
        yield from (f"not kept: {instance}, {each}" for each in lost)
    for instance, state in report.former.items():
        yield former_text(instance, state)


def _window_lines(report: PlanReport) -> Iterator[str]:
    window, bound = seconds(report.predicted_window_s), seconds(report.max_freeze_s)
    if report.unmeasured:
        who = _some(report.unmeasured)
        yield f"frozen window, not measured yet: about {window} (bound: {bound}); never measured: {who}"
    else:
        yield f"predicted frozen window: {window} (bound: {bound})"
    for instance, cut in report.cuts.items():
        yield f"cut of {instance}: {_to_take(cut.size)}, about {seconds(cut.seconds)} ({_BASIS[cut.basis]})"


def _to_take(size: CutSize) -> str:
    if size.compared:
        return f"{size.compared} entries copied beforehand, to compare"
    return f"{size.entries} entries, {size_text(size.copied_bytes)} to copy"


_BASIS = {
    Basis.MEASURED: "at the rates of the last one",
    Basis.TRIED: "the last try was broken off",
    Basis.GUESSED: "a careful guess: nothing alike was measured here",
}


def _restore_lines(deployment: str, restore: RestorePreview) -> Iterator[str]:
    newer = f"younger: {', '.join(restore.newer)}" if restore.newer else "no restore point is younger"
    yield f"{restore.point} is {age_text(restore.age_s)} old, what was written since is replaced; {newer}"
    checked = f" ({moment(restore.checked_at)})" if restore.checked_at is not None else ""
    yield f"its last check: {restore.trust}{checked}"
    expected = "unknown, never measured here" if restore.expected_s is None else seconds(restore.expected_s)
    yield f"how long it takes: {expected}"
    for room in restore.rooms:
        needed, free = size_text(room.needed_bytes), size_text(room.free_bytes)
        yield f"room for {', '.join(room.instances)}: {needed} beside what is there, {free} are free"
    if restore.undoable:
        others = restore.no_way_back or set(restore.safe) - set(restore.undoable)
        only = f" --include-instances {','.join(restore.undoable)}" if others else ""
        yield f"to go back: quiesce restore --undo {deployment}{only} ({', '.join(restore.undoable)})"
    if restore.safe:
        yield f"to go back: the restore point that is taken first ({', '.join(restore.safe)})"
    if restore.no_way_back:
        yield f"no way back: {', '.join(restore.no_way_back)}"


def former_text(instance: InstanceId, state: FormerState) -> str:
    """Return what is kept of an earlier restore."""
    kept = (
        f"the state before {state.execution}"
        if state.kept is Side.FORMER
        else f"what {state.execution} restored"
    )
    size = "" if state.size_bytes is None else f", {size_text(state.size_bytes)}"
    until = "the next restore has succeeded" if state.keep_until is None else moment(state.keep_until)
    older = f"; older ones: {', '.join(state.older)}" if state.older else ""
    return f"kept: {instance}, {kept}{size}, until {until}: {state.place}{older}"


def execution_text(report: ExecutionReport) -> str:
    """Return how an execution went, what it made and what is left to do."""
    return "\n".join(map(printable_lines, _execution_lines(report)))


def _execution_lines(report: ExecutionReport) -> Iterator[str]:
    execution = report.execution
    message = f": {execution.message}" if execution.message else ""
    whose = f"{execution.workflow} of {execution.deployment}, execution {execution.id}"
    yield f"{whose}: {execution.state}{message}"
    if report.frozen:
        yield (
            f"frozen window: {seconds(report.window_s)} "
            f"({report.frozen} frozen, {report.thawed} thawed{_longest(report)})"
        )
    if critical := critical_text(report, critical_path(report)):
        yield critical
    yield from _running_lines(report)
    for point in report.points:
        yield _point_line(point)
    for instance, figures in report.measurements.items():
        yield f"{instance}: {figures_text(figures)}"
    yield from (f"note on {instance}: {note}" for instance, note in report.notes.items())
    yield from (f"warning: {warning}" for warning in report.warnings)
    if report.owed:
        yield f"NOT THAWED: {', '.join(report.owed)}"
    if report.stopped:
        yield f"NOT STARTED: {', '.join(report.stopped)}"
    if report.advice:
        yield report.advice


def _longest(report: ExecutionReport) -> str:
    if not report.frozen_s:
        return ""
    instance, longest = max(report.frozen_s.items(), key=lambda item: item[1])
    return f"; longest {instance}, {seconds(longest)}"


def _running_lines(report: ExecutionReport) -> Iterator[str]:
    for step in (step for step in report.steps if step.state == "running"):
        moved = "" if step.done_bytes is None else f", {progress_text(step.done_bytes, step.total_bytes)}"
        yield f"running: {step.operation} of {step.instance}{moved}"


def progress_text(done_bytes: int, total_bytes: int | None) -> str:
    """Return how far something is, for people."""
    if not total_bytes:
        return size_text(done_bytes)
    return f"{size_text(done_bytes)} of {size_text(total_bytes)} ({100 * done_bytes // total_bytes} %)"


def figures_text(figures: Mapping[str, Json]) -> str:
    """Return measurements for people, on one line."""
    shown = {n: f"{value:.4g}" if isinstance(value, float) else str(value) for n, value in figures.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def measured_lines(report: ExecutionReport) -> Iterator[str]:
    """Yield one line for each instance that was measured, with the time."""
    at = moment(report.execution.created_at)
    for instance, figures in report.measurements.items():
        yield f"{at}  {printable(instance)}: {printable(figures_text(figures))}"


def point_text(point: RestorePoint) -> str:
    """Return everything that is known of a restore point."""
    lines = [_point_line(point), f"  made at {moment(point.made_at)} by {point.execution}"]
    if point.window_s:
        lines.append(
            f"  frozen window {seconds(point.window_s)}, cuts within {seconds(point.skew_s)} of each other"
        )
    for artifact in point.artifacts:
        size = artifact.content.get("size_bytes")
        shown = f", {size_text(size)}" if isinstance(size, int) else ""
        note = f" ({artifact.note})" if artifact.note else ""
        lines.append(f"  {artifact.instance}: {artifact.state}, {artifact.consistency.label}{shown}{note}")
    lines += [f"  proof of {moment(proof.at)}: {_proof_text(proof)}" for proof in point.proofs]
    if not point.proofs:
        lines.append("  never proven: quiesce backups verify")
    return "\n".join(map(printable_lines, lines))


def _point_line(point: RestorePoint) -> str:
    kind = "backup" if point.full else "snapshot"
    safety = ", taken for safety before a restore" if point.safety else ""
    return (
        f"restore point {printable(point.name)}: {kind}, {_state(point)}, "
        f"consistency {point.consistency.label}, {len(point.artifacts)} instances{safety}"
    )


def _state(point: RestorePoint) -> str:
    """Return its state; what a check found damaged looks like nothing else."""
    damaged = point.trust is Trust.DAMAGED
    return (
        f"{point.state}, DAMAGED"
        if damaged and point.state is not PointState.COMPLETE
        else ("DAMAGED" if damaged else point.state)
    )


def _age(point: RestorePoint, now: float) -> str:
    """Return how old it is; one from the future looks like nothing else."""
    return "in the FUTURE" if point.made_at > now + _CLOCKS_DIFFER_S else age_text(now - point.made_at)


def listing_text(listing: StoredListing) -> str:
    """Return a directory of a restore point as a table, directories with a slash."""
    rows = [
        (
            size_text(entry.size_bytes)
            if entry.kind is EntryKind.FILE and entry.size_bytes is not None
            else "-",
            moment(entry.modified_at),
            printable(_entry_name(entry)),
        )
        for entry in listing.entries
    ]
    more = [f"and {listing.left_out} more"] if listing.left_out else []
    return "\n".join([table(("SIZE", "CHANGED", "NAME"), rows), *more])


def _entry_name(entry: StoredEntry) -> str:
    name, target = os.fsdecode(entry.name), os.fsdecode(entry.target)
    match entry.kind:
        case EntryKind.DIRECTORY:
            return f"{name}/"
        case EntryKind.LINK:
            return f"{name} -> {target}"
        case _:
            return f"{name} (the same file as {target})" if target else name


def stored_text(point: RestorePoint) -> str:
    """Return how much is stored of it, as far as its artifacts say."""
    return "-" if point.stored_bytes is None else size_text(point.stored_bytes)


def _proof_text(proof: Proof) -> str:
    verdict = "FAILED" if not proof.passed else "partly passed" if proof.partial else "passed"
    return f"{proof.kind} {verdict} {proof.detail}"


def _proven(point: RestorePoint) -> str:
    if point.trust in (Trust.UNPROVEN, Trust.DAMAGED):
        return "NO, damaged" if point.proofs else "never"
    partly = "partly, " if point.trust is Trust.PARTLY else ""
    return f"{partly}{moment(point.proofs[-1].at)}"


def verification_text(
    point: RestorePoint,
    results: Mapping[InstanceId, Proof | None],
    manifest: str,
    unreachable: Mapping[InstanceId, str],
) -> str:
    """Return what a check of *point* found, instance by instance."""
    lines = [f"manifest: DAMAGED {manifest}"] if manifest else []
    for instance, proof in results.items():
        if proof is None:
            lines.append(f"{instance}: not checked, nothing can read it without restoring")
        else:
            lines.append(f"{instance}: {_found(proof)} {proof.detail}".rstrip())
    lines += [f"{instance}: unreachable {why}" for instance, why in unreachable.items()]
    lines.append(f"{point.name} is {_TRUST[point.trust]}")
    return "\n".join(map(printable_lines, lines))


def _found(proof: Proof) -> str:
    if not proof.passed:
        return "DAMAGED"
    if proof.kind == ELSEWHERE:
        return "nothing of its own:"
    if proof.kind == CHECKED:
        return "checked, not read in full:"
    return "good" if proof.read else "there, not read:"


_TRUST = {
    Trust.UNPROVEN: "not proven: nothing of it was read",
    Trust.PARTLY: "partly proven: not everything was read",
    Trust.PROVEN: "proven: everything was read",
    Trust.DAMAGED: "DAMAGED",
}


def points_text(points: Sequence[RestorePoint], now: float) -> str:
    """Return restore points as a table; *now* gives their age."""
    return table(
        ("NAME", "KIND", "STATE", "CONSISTENCY", "MADE", "AGE", "SIZE", "WINDOW", "INSTANCES", "PROVEN"),
        [
            (
                point.name,
                "backup" if point.full else "snapshot",
                _state(point),
                point.consistency.label,
                moment(point.made_at),
                _age(point, now),
                stored_text(point),
                seconds(point.window_s) if point.window_s else "-",
                str(len(point.artifacts)),
                _proven(point),
            )
            for point in points
        ],
    )


def retention_text(plan: RetentionPlan) -> str:
    """Return what a retention policy keeps and removes, and why."""
    return table(
        ("NAME", "KIND", "STATE", "CONSISTENCY", "MADE", "VERDICT", "WHY"),
        [
            (
                verdict.point.name,
                "backup" if verdict.point.full else "snapshot",
                verdict.point.state,
                verdict.point.consistency.label,
                moment(verdict.point.made_at),
                "keep" if verdict.kept else "remove",
                "; ".join(verdict.reasons),
            )
            for verdict in plan.verdicts
        ],
    )


def rebuilt_text(rebuilt: Rebuilt) -> str:
    """Return what was found in repositories, and what was left out."""
    lines = [f"looked at {printable(directory)}" for directory in rebuilt.directories]
    lines += [f"added {point_text(point)}" for point in rebuilt.added]
    lines += [f"known already: {printable(name)}" for name in rebuilt.known]
    lines += [
        f"left out: {printable(each.path)}: {printable_lines(each.reason)}" for each in rebuilt.left_out
    ]
    lines.append(f"{len(rebuilt.added)} added, {len(rebuilt.known)} known, {len(rebuilt.left_out)} left out")
    return "\n".join(lines)


def executions_text(executions: Sequence[Execution], interrupted: Iterable[str]) -> str:
    """Return executions as a table; interrupted ones are marked."""
    dead = set(interrupted)
    return table(
        ("ID", "WORKFLOW", "DEPLOYMENT", "STATE", "STARTED", "MESSAGE"),
        [
            (
                execution.id,
                execution.workflow,
                execution.deployment,
                ("INTERRUPTED" if execution.id in dead else execution.state)
                + (" OWES A THAW OR A START" if execution.owes else ""),
                moment(execution.created_at),
                execution.message,
            )
            for execution in executions
        ],
    )


def deployments_text(deployments: Sequence[Deployment]) -> str:
    """Return deployments as a table."""
    return table(
        ("NAME", "NODES", "INSTANCES", "MADE", "BLUEPRINT"),
        [
            (
                deployment.name,
                str(len(deployment.topology.nodes)),
                str(len(deployment.topology.instances)),
                moment(deployment.created_at),
                deployment.blueprint,
            )
            for deployment in deployments
        ],
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* under *heads*, columns aligned."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in (heads, *rows)) for n in range(len(heads))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in (heads, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def moment(at: float) -> str:
    """Return a time for people, in local time."""
    return dt.datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006


def age_text(age_s: float) -> str:
    """Return an age for people, in its largest unit."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if age_s >= 2 * length:
            return f"{int(age_s // length)} {unit}"
    return f"{int(max(age_s, 0))} s"


def seconds(value: float) -> str:
    """Return a duration for people: milliseconds below ten seconds."""
    return f"{value * 1000:.0f} ms" if value < 10 else f"{value:.1f} s"
