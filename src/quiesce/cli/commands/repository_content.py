"""repository ls, diff, extract: what points hold, looked at and written, without a deployment."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final

import click

from quiesce.app.repositories.extracting import extract_item
from quiesce.app.repository_access import GivenCredentials
from quiesce.cli.commands.opening_repositories import bandwidth_option, credential_options, opened_repository
from quiesce.cli.printing import say
from quiesce.cli.session import json_option
from quiesce.cli.values import read_stored_path
from quiesce.errors import UsageError
from quiesce.files.metadata import EVERYTHING, Allowed
from quiesce.model.ids import Json
from quiesce.model.sizes import size_text
from quiesce.reports.json import render_json, render_json_line
from quiesce.reports.text import table
from quiesce.reports.trees import difference_line, difference_values, entry_line, entry_values
from quiesce.repository import Difference, Point, PointReader, Repository, differences

_AT_ONCE: Final = 1000

item_option = click.option(
    "--item", metavar="NAME", help="Which of its trees, disks and streams, if several."
)


@click.command("ls")
@click.argument("url")
@click.argument("point", metavar="DEPLOYMENT/POINT/INSTANCE")
@click.argument("path", default="")
@item_option
@click.option("--recursive", "-R", is_flag=True, help="What is in directories, too.")
@credential_options
@json_option
def list_entries(
    url: str,
    point: str,
    path: str,
    item: str | None,
    recursive: bool,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """List what a point of the repository at URL holds, at PATH and in it. Only the lists of it are read.

    A hard link is shown with the path of the first name. With --json, one object a line.

    \b
    Example:
      quiesce repository ls /srv/backup shop/nightly/web_1 etc/nginx -R
    """
    below = read_stored_path(path)
    with opened_repository(url, given) as opened:
        reader = _reader(opened, point)
        name = _item(reader.point, item)
        if reader.point.items[name].kind != "tree":
            _say_items(reader.point, as_json=as_json)
            return
        reader.entry(name, below)
        found = reader.entries(name, below=below)
        deepest = below.count(b"/") + bool(below)
        shown = (entry for entry in found if recursive or entry.path.count(b"/") <= deepest)
        _say_lines(render_json_line("entry", entry_values(e)) if as_json else entry_line(e) for e in shown)


@click.command("diff")
@click.argument("url")
@click.argument("point", metavar="DEPLOYMENT/POINT/INSTANCE")
@click.argument("other", metavar="DEPLOYMENT/POINT/INSTANCE")
@click.argument("path", default="")
@item_option
@click.option("--metadata", is_flag=True, help="Other owners, permissions, times and attributes, too.")
@credential_options
@json_option
def diff_points(
    url: str,
    point: str,
    other: str,
    path: str,
    item: str | None,
    metadata: bool,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """Tell what two points of the repository at URL do not have in common.

    A plus came, a minus went, an M has other content; no content is read for it. With --json, one object a
    line.

    \b
    Example:
      quiesce repository diff /srv/backup shop/monday/web_1 shop/tuesday/web_1
    """
    below = read_stored_path(path)
    with opened_repository(url, given) as opened:
        entries = []
        for name in (point, other):
            reader = _reader(opened, name)
            entries.append(reader.entries(_item(reader.point, item), below=below))
        found = differences(*entries)
        shown = (each for each in found if metadata or each.difference is not Difference.METADATA)
        _say_lines(
            render_json_line("difference", difference_values(each)) if as_json else difference_line(each)
            for each in shown
        )


@click.command("extract")
@click.argument("url")
@click.argument("point", metavar="DEPLOYMENT/POINT/INSTANCE")
@click.argument("path", default="")
@click.option(
    "--target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PLACE",
    help="What is made: a directory of a tree, a file of a disk or a stream. Nothing may be there yet.",
)
@item_option
@click.option(
    "--allow-privileged",
    is_flag=True,
    help="Set-user-ID and set-group-ID of files, capabilities and devices, too.",
)
@bandwidth_option
@credential_options
@json_option
def extract_point(
    url: str,
    point: str,
    path: str,
    target: Path,
    item: str | None,
    allow_privileged: bool,
    bandwidth: float | None,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """Write what a point of the repository at URL holds to PLACE, or of a tree only what is at and in PATH.

    Neither a deployment nor a database is needed. PLACE is there when all of it is written, or not at all.

    \b
    Example:
      quiesce repository extract /srv/backup shop/nightly/web_1 etc/nginx --target /tmp/found
    """
    allowed = EVERYTHING if allow_privileged else Allowed()
    with opened_repository(url, given, bandwidth) as opened:
        reader = _reader(opened, point)
        name = _item(reader.point, item)
        problems = extract_item(
            reader, name, target.absolute(), below=read_stored_path(path), allowed=allowed
        )
    if as_json:
        told = {"target": str(target), "not_as_it_was": problems.count, "reasons": problems.reasons}
        say(render_json("extraction", told))
        return
    say(f"{name} of {reader.point.key} is in {target}")
    if problems:
        say(f"{problems.count} not written as they were: {problems}")


def _reader(opened: Repository, name: str) -> PointReader:
    """Return a reader of the one point that is meant by *name*, of an instance.

    Raises:
        UsageError: when there is none, or several.
    """
    points = [point for point in opened.stored_points().points if point.items]
    found = [point.key for point in points if f"{point.key}/".startswith(f"{name}/")]
    found = [key for key in found if str(key) == name] or found
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'none'} of the points of instances are {name}"
            + "".join(f"\n{key}" for key in sorted(found)[:20]),
            hint="See: quiesce repository list",
        )
    return opened.reader(found[0])


def _item(point: Point, name: str | None) -> str:
    """Return which item of *point* is meant.

    Raises:
        UsageError: when that is not clear.
    """
    if name is None and len(point.items) == 1:
        return next(iter(point.items))
    if name is None or name not in point.items:
        raise UsageError(f"say which item of {point.key} is meant: --item {', '.join(sorted(point.items))}")
    return name


def _say_items(point: Point, *, as_json: bool) -> None:
    if as_json:
        items: Json = {name: item.as_json() for name, item in point.items.items()}
        say(render_json("items", items))
        return
    rows = [(name, item.kind, size_text(item.size_bytes)) for name, item in point.items.items()]
    say(table(("ITEM", "KIND", "SIZE"), rows))


def _say_lines(lines: Iterable[str]) -> None:
    """Print them as they come: there may be millions."""
    rest = iter(lines)
    while some := list(islice(rest, _AT_ONCE)):
        say("\n".join(some))
