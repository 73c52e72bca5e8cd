"""repository init, list, stats, check, verify, remove, prune, undo, collect, copy, and its keys."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import click

from quiesce.app.repositories.copies import fetch_points
from quiesce.app.repositories.prune import plan_repository_pruning, remove_doomed
from quiesce.app.repository_access import GivenCredentials, RepositoryAccess, label_of
from quiesce.bootstrap import Settings
from quiesce.cli.commands.opening_repositories import (
    bandwidth_limits,
    bandwidth_option,
    credential_options,
    opened_at_home,
    repository_home,
)
from quiesce.cli.commands.repository_content import diff_points, extract_point, list_entries
from quiesce.cli.printing import say
from quiesce.cli.retention import retention_options
from quiesce.cli.session import json_option
from quiesce.cli.values import place_of, read_age
from quiesce.errors import DamagedError, TamperedError, UsageError
from quiesce.files.durable import storage_errors, write_named
from quiesce.model.retention import RetentionPolicy
from quiesce.model.stored_object import ObjectName
from quiesce.reports.json import render_json
from quiesce.reports.repositories import (
    checked_text,
    checked_values,
    collected_text,
    copied_text,
    copied_values,
    figures_lines,
    keys_table,
    point_values,
    points_table,
    pruning_text,
    verified_text,
    verified_values,
)
from quiesce.reports.text import age_text
from quiesce.repository import CheckRange, FileKey, Point, PointKey, Repository, StoredPoints

_DAMAGE_HINT: Final = (
    "Content is stored anew by the next backup, or from a copy; a damaged point can only be removed: see "
    "docs/repository.md. 'quiesce repository verify' tells which points are whole."
)


@click.group()
def repository() -> None:
    """Make repositories, look at them, check them, clean them up, copy them.

    A repository (docs/repository.md) is named by URL: an absolute path, or sftp://, s3://, gs://, az://. The
    keys of QUIESCE_HOME open it, as long as nothing else is said.

    \b
    Example:
      quiesce repository init /srv/backup
      quiesce repository check /srv/backup --read
      quiesce repository copy /srv/backup s3://offsite/shop
    """


@repository.command("init")
@click.argument("url")
@click.option("--like", metavar="URL", help="Another one, that points are going to be copied from or to.")
@click.option(
    "--grace",
    default="1d",
    show_default=True,
    metavar="AGE",
    help="For how long what nobody needs is kept (36h, 30d, 8w); longer than any backup takes.",
)
@credential_options
@json_option
def init_repository(url: str, like: str | None, grace: str, given: GivenCredentials, as_json: bool) -> None:
    """Make a repository at URL, where nothing is yet. The first key of QUIESCE_HOME opens it.

    --passphrase and --key-file let these open it, too.

    \b
    Example:
      quiesce repository init /srv/backup
      quiesce repository init s3://offsite/shop --like /srv/backup --passphrase offsite_repository
    """
    with (
        repository_home() as home,
        home.opened(like, given) if like else nullcontext() as model,
        home.created(url, given, grace_s=read_age(grace), like=model) as made,
    ):
        home.seen.check(made)
        keys = list(made.credentials())
    if as_json:
        say(render_json("repository", {"location": made.location, "id": made.id, "keys": keys}))
        return
    say(
        f"made the repository {made.id} in {made.location}, opened by: {', '.join(key.label for key in keys)}"
    )
    say("WITHOUT ONE OF ITS KEYS NOBODY CAN READ IT AGAIN, neither you nor quiesce's authors.")
    say(f"Keep a copy where this machine is not: quiesce repository keys export {url} --output FILE")


@repository.command("list")
@click.argument("url")
@click.argument("deployment", required=False)
@click.option("--removed", is_flag=True, help="Those that were removed and can be brought back, too.")
@credential_options
@json_option
def list_points(
    url: str,
    deployment: str | None,
    removed: bool,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """List the points of the repository at URL.

    \b
    Example:
      quiesce repository list /srv/backup shop
    """

    def chosen(point: Point) -> bool:
        return deployment in {None, point.key.deployment}

    with opened_at_home(url, given) as (_, opened):
        stored = opened.stored_points()
        points = sorted(filter(chosen, stored.points), key=lambda point: (point.made_at, point.key))
        gone = [each for each in opened.removed() if chosen(each.point)] if removed else []
    if as_json:
        told: list[Any] = [{**point_values(point), "removed_at": None} for point in points]
        told += [{**point_values(each.point), "removed_at": each.removed_at} for each in gone]
        say(render_json("points", told))
    else:
        say(points_table(points, gone))
    _refuse_damaged(opened, stored)


repository.add_command(list_entries)
repository.add_command(diff_points)
repository.add_command(extract_point)


@repository.command("stats")
@click.argument("url")
@credential_options
@json_option
def stats(url: str, given: GivenCredentials, as_json: bool) -> None:
    """Tell how much is stored in the repository at URL, and how much that is when it is restored."""
    with opened_at_home(url, given) as (_, opened):
        figures = opened.statistics()
    say(render_json("statistics", figures) if as_json else figures_lines(figures))


@repository.command("check")
@click.argument("url")
@click.option("--read", "reading", is_flag=True, help="Read every byte of every pack, too.")
@click.option("--part", metavar="N/M", help="With --read: of M parts of the packs only the Nth.")
@click.option(
    "--after", metavar="PACK", help="With --read: go on after this pack, where a check was stopped."
)
@click.option("--tamper", is_flag=True, help="Compare points and keys with those that were seen before.")
@click.option("--accept", is_flag=True, help="With --tamper: take what is there now for what should be.")
@bandwidth_option
@credential_options
@json_option
def check(
    url: str,
    reading: bool,
    part: str | None,
    after: str | None,
    tamper: bool,
    accept: bool,
    bandwidth: float | None,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """Check that all is there that the points of the repository at URL need, and is what was written.

    Without --read, what packs hold is not read. With --tamper, also tell which points are gone or others, and
    which keys were added, since this QUIESCE_HOME has looked last: nothing in the repository itself can.

    \b
    Example:
      quiesce repository check /srv/backup --tamper
      quiesce repository check /srv/backup --read --part $(date +%u)/7
    """
    if (part or after) and not reading:
        raise UsageError("--part and --after say what --read reads")
    if accept and not tamper:
        raise UsageError("--accept says what --tamper compares with")
    range_ = _range(part, after) if reading else None
    with opened_at_home(url, given, bandwidth) as (home, opened):
        checked = opened.check(range_)
        found = home.seen.check(opened, accept=accept) if tamper else None
    tampered = [] if found is None else list(found.problems)
    if as_json:
        say(render_json("check", {**checked_values(checked), "tampered": found and found.problems}))
    else:
        say(checked_text(checked, [*checked.problems, *tampered]))
        if found is not None and not found.known_before:
            say(f"nothing was known of it before; {found.remembered} points are remembered from now on")
    if checked.problems:
        raise DamagedError(f"{opened.location} is damaged: {checked.problems[0]}", hint=_DAMAGE_HINT)
    if tampered:
        raise TamperedError(f"{opened.location} is not as it was seen before: {'; '.join(tampered[:5])}")


@repository.command("verify")
@click.argument("url")
@click.argument("points", nargs=-1, metavar="[DEPLOYMENT[/POINT[/INSTANCE]]]...")
@bandwidth_option
@credential_options
@json_option
def verify(
    url: str,
    points: tuple[str, ...],
    bandwidth: float | None,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """Read all that points of the repository at URL need, as a restore would; all points, or those named.

    \b
    Example:
      quiesce repository verify /srv/backup shop/nightly
    """
    with opened_at_home(url, given, bandwidth) as (_, opened):
        stored = opened.stored_points()
        verified = opened.verify(_chosen(stored.keys, points))
    unknown = stored.unknown if not points else []
    text = verified_text(verified, unknown)
    say(render_json("verification", verified_values(verified, unknown)) if as_json else text)
    if damaged := [*map(str, verified.damages), *unknown]:
        raise DamagedError(f"damaged points in {opened.location}: {', '.join(damaged)}", hint=_DAMAGE_HINT)


@repository.command("remove")
@click.argument("url")
@click.argument("points", nargs=-1, required=True, metavar="DEPLOYMENT[/POINT[/INSTANCE]]...")
@click.option("--yes", is_flag=True, help="Remove them; without it nothing is changed.")
@credential_options
@json_option
def remove(url: str, points: tuple[str, ...], yes: bool, given: GivenCredentials, as_json: bool) -> None:
    """Show the named points of the repository at URL; with --yes, remove them.

    They can be brought back until the repository's grace is over (quiesce repository undo). What is damaged
    cannot: it may be named as 'check' names it (points/...), too, and is deleted.

    \b
    Example:
      quiesce repository remove /srv/backup shop/before-upgrade --yes
    """
    with opened_at_home(url, given) as (home, opened):
        stored = opened.stored_points()
        objects = [name for name in stored.unknown if name in points]
        names = tuple(name for name in points if name not in objects)
        keys = _chosen(stored.keys, names) if names else []
        if yes:
            _remove(home, opened, keys, objects)
    told = [*map(str, keys), *objects]
    if as_json:
        say(render_json("removal", {"points": told, "removed": yes}))
        return
    say("\n".join(told))
    say(f"{len(told)} points removed" if yes else "nothing was removed; to remove these, say --yes")


def _remove(
    home: RepositoryAccess, opened: Repository, keys: list[PointKey], damaged: list[ObjectName]
) -> None:
    for key in keys:
        opened.remove(key)
    for name in damaged:
        opened.remove_damaged(name)
    home.seen.forget_points(opened, keys)


@repository.command("prune")
@click.argument("url")
@click.argument("deployment", required=False)
@retention_options
@click.option("--yes", is_flag=True, help="Remove those that no rule keeps; without it nothing is changed.")
@click.option(
    "--most",
    type=click.IntRange(1, 100),
    default=50,
    show_default=True,
    metavar="PERCENT",
    help="Refuse to remove more than this part of a deployment's points at once.",
)
@credential_options
@json_option
def prune(
    url: str,
    deployment: str | None,
    policy: RetentionPolicy,
    yes: bool,
    most: int,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """Show which points of the repository at URL the rules keep, and why; with --yes, remove the others.

    Each deployment's points count for themselves. What was removed can be brought back until the repository's
    grace is over (quiesce repository undo); afterwards 'collect' makes room.

    \b
    Example:
      quiesce repository prune /srv/backup --keep-daily 7 --keep-weekly 4
      quiesce repository prune /srv/backup shop --keep-last 3 --yes
    """
    with opened_at_home(url, given) as (home, opened):
        pruning = plan_repository_pruning(opened, policy, deployment=deployment, now=time.time())
        if as_json:
            told = {"plans": pruning.plans, "freed_bytes": pruning.freed_bytes, "removed": yes}
            say(render_json("pruning", told))
        else:
            say(pruning_text(pruning.plans, pruning.freed_bytes))
        if yes:
            remove_doomed(opened, pruning, most_percent=most)
            home.seen.forget_points(opened, pruning.doomed)
    if as_json:
        return
    if yes:
        grace = age_text(opened.grace_s)
        say(f"{pruning.removed} removed; for {grace}: quiesce repository undo {url} DEPLOYMENT/POINT")
    elif pruning.removed:
        say(f"nothing was removed; to remove {pruning.removed}, say --yes")


@repository.command("undo")
@click.argument("url")
@click.argument("points", nargs=-1, required=True, metavar="DEPLOYMENT[/POINT[/INSTANCE]]...")
@credential_options
@json_option
def undo(url: str, points: tuple[str, ...], given: GivenCredentials, as_json: bool) -> None:
    """Bring removed points of the repository at URL back, as long as its grace is not over.

    \b
    Example:
      quiesce repository list /srv/backup --removed
      quiesce repository undo /srv/backup shop/nightly
    """
    with opened_at_home(url, given) as (_, opened):
        wanted = _chosen([each.point.key for each in opened.removed()], points)
        opened.bring_back(wanted)
    told = [str(key) for key in wanted]
    say(render_json("brought_back", told) if as_json else f"brought back: {', '.join(told)}")


@repository.command("collect")
@click.argument("url")
@click.option("--simulate", is_flag=True, help="Tell what would be done; change nothing.")
@credential_options
@json_option
def collect(url: str, simulate: bool, given: GivenCredentials, as_json: bool) -> None:
    """Make room in the repository at URL: delete what no point needs, when its grace is over.

    What nobody needs is marked first, and deleted by a later call, when it has been marked for the grace.
    Others may write and collect meanwhile.
    """
    with opened_at_home(url, given) as (_, opened):
        collected = opened.collect(simulate=simulate)
    told = {"simulated": simulate, "collected": collected}
    say(render_json("collection", told) if as_json else collected_text(collected, simulated=simulate))


@repository.command("rebuild-index")
@click.argument("url")
@credential_options
@json_option
def rebuild_index(url: str, given: GivenCredentials, as_json: bool) -> None:
    """Read from the packs of the repository at URL what no index tells, and delete damaged indexes.

    Damaged indexes keep nobody from reading and writing, but each time the packs have to be asked instead.

    \b
    Example:
      quiesce repository rebuild-index /srv/backup
    """
    with opened_at_home(url, given) as (_, opened):
        rebuilt = opened.rebuild_index()
    if as_json:
        say(render_json("index", rebuilt))
    else:
        say(f"{rebuilt.packs} packs are told of again; {rebuilt.damaged_indexes} damaged indexes are deleted")
    if lost := rebuilt.damaged_packs:
        raise DamagedError(f"of {len(lost)} packs nobody can tell what they hold: {', '.join(lost[:5])}")


@repository.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.argument("points", nargs=-1, metavar="[DEPLOYMENT[/POINT[/INSTANCE]]]...")
@bandwidth_option
@credential_options
@json_option
def copy(
    source: str,
    target: str,
    points: tuple[str, ...],
    bandwidth: float | None,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """Copy points that are not there yet to another repository, all or those named.

    TO must have been made with --like FROM, or the other way round. Interrupted, it goes on when it is called
    again.

    \b
    Example:
      quiesce repository init sftp://nas/srv/backup --like /srv/backup
      quiesce repository copy /srv/backup sftp://nas/srv/backup shop
    """
    limits = bandwidth_limits(bandwidth)
    with (
        repository_home() as home,
        home.opened(source, given, limits=limits) as from_,
        home.opened(target, given, limits=limits) as to,
    ):
        stored = from_.stored_points()
        copied = from_.copy_to(to, _chosen(stored.keys, points))
    if as_json:
        say(render_json("copy", copied_values(copied)))
    else:
        say(copied_text(copied))
    if damaged := [*map(str, copied.damages), *(stored.unknown if not points else [])]:
        raise DamagedError(f"damaged points in {from_.location}: {', '.join(damaged)}", hint=_DAMAGE_HINT)


@repository.command("fetch")
@click.argument("url")
@click.argument("points", nargs=-1, metavar="[DEPLOYMENT[/POINT]]...")
@click.option(
    "--to",
    "to",
    metavar="URL",
    help="The repository that the nodes name; default: the one of QUIESCE_HOME.",
)
@bandwidth_option
@credential_options
@json_option
def fetch(
    url: str,
    points: tuple[str, ...],
    to: str | None,
    bandwidth: float | None,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """Bring backups that a policy has copied to URL (copy_to) back, for a restore.

    They are written where backups are kept, and 'quiesce backups rebuild' puts them into the catalog. What is
    there already is left alone.

    \b
    Example:
      quiesce repository fetch s3://offsite/shop shop/nightly-20270101T013000Z
      quiesce backups rebuild shop
    """
    place = place_of(to) if to else Settings.of(os.environ).default_repository
    with (
        opened_at_home(url, given, bandwidth) as (home, opened),
        home.home.opened_or_made(place, addressing=opened.addressing) as there,
    ):
        chosen = _chosen(opened.stored_points().keys, points)
        whole = sorted(key for key in chosen if not key.instance)
        fetched = fetch_points(opened, there, whole)
    if as_json:
        say(render_json("fetched", {str(key): new for key, new in fetched.items()}))
        return
    new = sum(fetched.values())
    say(f"{new} restore points are in {place} now, {len(fetched) - new} were there before")
    for name in sorted({key.deployment for key in fetched}):
        say(f"next: quiesce backups rebuild {name}")
        say(f"  or first: quiesce init BLUEPRINT -b {name} --from-repository {place}")


@repository.group("keys")
def repository_keys() -> None:
    """Say which passphrases and key files open a repository. No data are written anew."""


@repository_keys.command("list")
@click.argument("url")
@credential_options
@json_option
def list_keys(url: str, given: GivenCredentials, as_json: bool) -> None:
    """List what opens the repository at URL."""
    with opened_at_home(url, given) as (_, opened):
        keys = list(opened.credentials())
    say(render_json("keys", keys) if as_json else keys_table(keys))
    if damaged := [key.id for key in keys if key.damage]:
        raise DamagedError(
            f"damaged keys in {opened.location}: {', '.join(damaged)}",
            hint="Take it away (quiesce repository keys remove), and add it anew where it is still wanted.",
        )


@repository_keys.command("add")
@click.argument("url")
@click.option("--new-passphrase", metavar="SECRET", help="The name of the secret that holds it.")
@click.option(
    "--new-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A key file, as 'export' writes one.",
)
@credential_options
@json_option
def add_key(
    url: str,
    new_passphrase: str | None,
    new_key_file: Path | None,
    given: GivenCredentials,
    as_json: bool,
) -> None:
    """Let one more passphrase or key file open the repository at URL.

    \b
    Example:
      quiesce repository keys add /srv/backup --new-passphrase offsite_repository
    """
    if (new_passphrase is None) == (new_key_file is None):
        raise UsageError("say what is to open it: --new-passphrase or --new-key-file")
    new = GivenCredentials(passphrase=new_passphrase, key_file=new_key_file)
    with opened_at_home(url, given) as (home, opened):
        (credential,) = home.read(new)
        id_ = opened.add_key(credential, label=label_of(new, credential))
        home.seen.note_keys(opened)
    say(render_json("key", {"id": id_}) if as_json else f"the key {id_} opens it, too")


@repository_keys.command("remove")
@click.argument("url")
@click.argument("id_", metavar="ID")
@credential_options
@json_option
def remove_key(url: str, id_: str, given: GivenCredentials, as_json: bool) -> None:
    """Let the key ID open the repository at URL no more. The last one stays.

    Whoever has that key and a copy of the repository, or of its key object, can still read it.
    """
    with opened_at_home(url, given) as (home, opened):
        opened.remove_key(id_)
        home.seen.note_keys(opened)
    say(render_json("key", {"id": id_}) if as_json else f"the key {id_} opens it no more")


@repository_keys.command("export")
@click.argument("url")
@click.option("--output", type=click.Path(dir_okay=False), metavar="FILE", help="A file (mode 0600) instead.")
@credential_options
def export_key(url: str, output: str | None, given: GivenCredentials) -> None:
    """Make a new key file for the safe, which opens the repository at URL, and print it.

    \b
    Example:
      quiesce repository keys export /srv/backup --output /media/safe/backup.key
    """
    new = FileKey.new()
    with opened_at_home(url, given) as (home, opened):
        id_ = opened.add_key(new, label="for the safe")
        home.seen.note_keys(opened)
    if output is None:
        say(new.as_text().rstrip())
        return
    with storage_errors(f"write {output}"):
        write_named(Path(output).absolute(), new.as_text().encode())
    say(f"the key {id_} is in {output}: whoever has it can read the repository")


@repository_keys.command("import")
@click.argument("url")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_key(url: str, file: Path) -> None:
    """Let this QUIESCE_HOME open the repository at URL from now on, by the key in FILE.

    \b
    Example:
      quiesce repository keys import /srv/backup /media/safe/backup.key
    """
    with repository_home() as home:
        mine = home.home.own_key()
        with home.opened(url, GivenCredentials(key_file=file)) as opened:
            id_ = opened.add_key(mine, label="QUIESCE_HOME")
            home.seen.note_keys(opened)
    say(f"the keys of this QUIESCE_HOME open {opened.location} (key {id_})")


def _refuse_damaged(opened: Repository, stored: StoredPoints) -> None:
    """Name the points that are damaged, when everything else has been told."""
    if stored.damaged:
        damaged = ", ".join(stored.damaged_names)
        raise DamagedError(f"damaged points in {opened.location}: {damaged}", hint=_DAMAGE_HINT)


def _range(part: str | None, after: str | None) -> CheckRange:
    try:
        number, _, parts = (part or "1/1").partition("/")
        range_ = CheckRange(part=int(number), parts=int(parts), after=bytes.fromhex(after or ""))
    except ValueError:
        raise UsageError("say which part: N/M; and a pack as a check has told it") from None
    if not 1 <= range_.part <= range_.parts:
        raise UsageError(f"{part} is no part: N/M, N from 1 to M")
    return range_


def _chosen(keys: list[PointKey], names: tuple[str, ...]) -> list[PointKey]:
    """Return the keys at or below *names*; all without any.

    Raises:
        UsageError: when there is nothing of one of the names.
    """
    found = {name: [key for key in keys if f"{key}/".startswith(f"{name}/")] for name in names}
    if missing := [name for name, matching in found.items() if not matching]:
        raise UsageError(f"there is nothing of the name {missing[0]}", hint="See: quiesce repository list")
    return sorted(set(keys) if not names else {key for matching in found.values() for key in matching})
