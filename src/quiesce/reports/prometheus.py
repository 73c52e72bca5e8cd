"""Figures in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import Final

#: every metric, and what it means; ``docs/policies.md`` is checked against it
METRICS: Final = {
    "thaw_debts": "Nodes that may still be frozen by an execution that is not over.",
    "executions": "Executions that are kept, by state.",
    "backup_last_success_timestamp_seconds": "When the newest good restore point was made; 0: never.",
    "backup_points": "Good restore points that there are.",
    "backup_damaged_points": "Restore points whose last check found damage.",
    "backup_frozen_seconds": "Frozen window of the newest good restore point.",
    "backup_cut_skew_seconds": "Time between the first and the last cut of the newest good restore point.",
    "backup_stored_bytes": "Stored of the newest good restore point, as far as it is known; 0: not.",
    "backup_consistency": "Class of the newest good one: 0 none, 1 crash, 2 filesystem, 3 application.",
    "backup_proof_timestamp_seconds": "When a restore point was last read in full and found good; 0: never.",
    "policy_last_success_timestamp_seconds": "Due time of the last run that succeeded; 0: never.",
    "policy_next_run_timestamp_seconds": "When the policy is due next.",
    "policy_proof_timestamp_seconds": "When a restore point was last restored on trial; 0: never.",
    "policy_copy_timestamp_seconds": "When backups were last copied to the second place; 0: never.",
    "policy_chore_overdue": "Whether a proof or a copy is overdue (1) or not (0).",
    "policy_overdue": "Whether a success is overdue (1) or not (0).",
}


def render_metrics(samples: Iterable[tuple[str, Iterable[tuple[str, str]], float]]) -> str:
    """Return *samples* (metric, labels, value), grouped by metric, each with its help."""
    lines: dict[str, list[str]] = {name: [] for name in METRICS}
    for metric, labels, value in samples:
        inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
        lines[metric].append(f"quiesce_{metric}{{{inner}}} {value:.17g}")
    return "".join(
        f"# HELP quiesce_{name} {meaning}\n# TYPE quiesce_{name} gauge\n"
        + "".join(f"{line}\n" for line in lines[name])
        for name, meaning in METRICS.items()
    )


def grafana_dashboard() -> str:
    """Return a dashboard that Grafana imports."""
    return _file("grafana.json")


def alert_rules() -> str:
    """Return alert rules for Prometheus."""
    return _file("alerts.yaml")


def _file(name: str) -> str:
    return resources.files("quiesce.reports").joinpath("monitoring", name).read_text()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
