"""Repositories as plain text, and as values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final

from quiesce.model.ids import Json
from quiesce.model.retention import RetentionPlan
from quiesce.model.sizes import size_text
from quiesce.reports.escaping import printable
from quiesce.reports.text import moment, table
from quiesce.repository import (
    Collected,
    Point,
    PointsCopied,
    PointsVerified,
    RemovedPoint,
    RepositoryChecked,
    RepositoryFigures,
    RepositoryKey,
)

_NOT_KNOWN: Final = "it is not what was written there, and nothing tells which point it was"


def point_values(point: Point) -> dict[str, Json]:
    """Return what there is to be told of a point; its instance is empty for that of the whole deployment."""
    return {
        "deployment": point.key.deployment,
        "point": point.key.point,
        "instance": point.key.instance,
        "made_at": point.made_at,
        "size_bytes": point.size_bytes,
        "items": {name: item.kind for name, item in point.items.items()},
    }


def points_table(points: Iterable[Point], removed: Sequence[RemovedPoint] = ()) -> str:
    """Return points as a table, oldest first; what was removed and can come back is marked."""
    rows = [(point, "") for point in points]
    rows += [(each.point, f"removed {moment(each.removed_at)}") for each in removed]
    rows.sort(key=lambda row: (row[0].key.deployment, row[0].made_at, row[0].key))
    return table(
        ("DEPLOYMENT", "POINT", "INSTANCE", "MADE", "SIZE", ""),
        [
            (
                point.key.deployment,
                point.key.point,
                point.key.instance or "(all)",
                moment(point.made_at),
                size_text(point.size_bytes),
                told,
            )
            for point, told in rows
        ],
    )


def figures_lines(figures: RepositoryFigures) -> str:
    """Return how much is in a repository."""
    restored, stored = size_text(figures.restored_bytes), size_text(figures.stored_bytes)
    lines = [
        f"{figures.points} points, {restored} when restored",
        f"{stored} stored in {figures.packs} packs ({figures.blobs} blobs)",
    ]
    if figures.damaged_points:
        lines.append(f"{figures.damaged_points} points are damaged: quiesce repository check tells more")
    if figures.removed_points:
        lines.append(f"{figures.removed_points} removed points can be brought back")
    lines += [
        f"  {printable(name)}: {size_text(size)}" for name, size in sorted(figures.by_deployment.items())
    ]
    return "\n".join(lines)


def checked_values(checked: RepositoryChecked) -> dict[str, Json]:
    """Return what a check found."""
    return {**asdict(checked), "last": checked.last.hex()}


def checked_text(checked: RepositoryChecked, problems: Sequence[str]) -> str:
    """Return what a check found, problems last."""
    lines = [f"{checked.points} points, {checked.packs} packs"]
    if checked.packs_read:
        lines.append(
            f"read {checked.packs_read} packs, {size_text(checked.bytes_read)}; "
            f"the next check may go on --after {checked.last.hex()}"
        )
    if checked.unknown_packs:
        lines.append(
            f"{checked.unknown_packs} packs are in no index: of a writer that was interrupted, "
            "or is at work just now"
        )
    lines += [f"problem: {printable(problem)}" for problem in problems]
    lines += [] if problems else ["no problem was found"]
    return "\n".join(lines)


def verified_values(verified: PointsVerified, unknown: Sequence[str] = ()) -> dict[str, Json]:
    """Return what reading points has found; of damaged ones that are *unknown* only the object is."""
    return {
        "points": verified.points + len(unknown),
        "blobs": verified.blobs,
        "bytes_read": verified.bytes_read,
        "damages": {
            **{str(key): damage for key, damage in verified.damages.items()},
            **dict.fromkeys(unknown, _NOT_KNOWN),
        },
    }


def verified_text(verified: PointsVerified, unknown: Sequence[str] = ()) -> str:
    """Return the same for people."""
    lines = [f"damaged: {printable(str(key))}: {printable(why)}" for key, why in verified.damages.items()]
    lines += [f"damaged: {name}: {_NOT_KNOWN}" for name in unknown]
    whole, points = verified.points - len(verified.damages), verified.points + len(unknown)
    lines.append(
        f"{whole} of {points} points are whole; "
        f"{verified.blobs} blobs, {size_text(verified.bytes_read)} read and authentic"
    )
    return "\n".join(lines)


def copied_values(copied: PointsCopied) -> dict[str, Json]:
    """Return what became of points that were to be copied."""
    return {
        "points": [str(key) for key in copied.points],
        "figures": asdict(copied.figures),
        "damages": {str(key): damage for key, damage in copied.damages.items()},
    }


def copied_text(copied: PointsCopied) -> str:
    """Return the same for people."""
    lines = [f"not copied: {printable(str(key))}: {printable(why)}" for key, why in copied.damages.items()]
    figures = copied.figures
    lines.append(
        f"{len(copied.points)} points copied, {copied.there} were there before; "
        f"{figures.new_blobs} blobs, {size_text(figures.packed_bytes)} stored"
    )
    return "\n".join(lines)


def pruning_text(plans: Iterable[RetentionPlan], freed_bytes: int) -> str:
    """Return what a policy keeps and removes of a repository."""
    rows = [
        (
            plan.deployment,
            verdict.point.name,
            verdict.point.state,
            moment(verdict.point.made_at),
            "keep" if verdict.kept else "remove",
            "; ".join(verdict.reasons),
        )
        for plan in plans
        for verdict in plan.verdicts
    ]
    told = table(("DEPLOYMENT", "POINT", "STATE", "MADE", "VERDICT", "WHY"), rows)
    return f"{told}\nonly those to be removed need {size_text(freed_bytes)} of what is stored"


def collected_text(collected: Collected, *, simulated: bool) -> str:
    """Return what a collection did, or would do."""
    would = "would be " if simulated else ""
    lines = [
        f"{collected.deleted_packs} packs {would}deleted, {size_text(collected.deleted_bytes)}",
        f"{collected.condemned_packs} packs {would}marked, to be deleted when their grace is over",
    ]
    if collected.forgotten_points:
        lines.append(f"{collected.forgotten_points} removed points cannot be brought back any more")
    if collected.locked_packs:
        lines.append(f"{collected.locked_packs} packs may not be deleted yet (object lock)")
    return "\n".join(lines)


def keys_table(keys: Iterable[RepositoryKey]) -> str:
    """Return the keys of a repository as a table."""
    rows = [(key.id, key.kind, key.label, f"damaged: {key.damage}" if key.damage else "") for key in keys]
    return table(("ID", "KIND", "LABEL", ""), rows)
