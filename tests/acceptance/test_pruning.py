"""Retention through the command line: it plans first, removes what it said, and always leaves a good one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quiesce.errors import ExitStatus
from tests.repository_objects import flip_content, point_object

from .conftest import Opener
from .shop import SHOP, SLOW_SHOP, CommandLine, Shop, eventually

FULL = ("-p", "snapshot_incremental=false")


@pytest.fixture
def kept_shop(quiesce: CommandLine, opened: Opener) -> Shop:
    """A shop with three backups, the oldest called ``one``."""
    return opened(quiesce, SHOP, with_three_backups)


def with_three_backups(quiesce: CommandLine, _: Shop) -> None:
    for name in ("one", "two", "three"):
        back_up(quiesce, name)


def back_up(quiesce: CommandLine, name: str, *options: str) -> None:
    """Make a backup called *name*."""
    quiesce("backup", "shop", "-p", f"snapshot_name={name}", *(options or FULL))


def is_stored(quiesce: CommandLine, name: str, shop: Shop) -> bool:
    """Tell whether the repository holds that backup of the directory."""
    root = quiesce.home / "repository"
    return point_object(quiesce.home, root, f"shop/{name}/{shop.instances['files']}").exists()


def test_without_yes_it_says_what_it_would_do_and_touches_nothing(
    quiesce: CommandLine, kept_shop: Shop
) -> None:
    told = quiesce("backups", "prune", "shop", "--keep-last", "1").out
    lines = {line.split()[0]: line for line in told.splitlines()}
    assert "keep     last 1 of 1; the last good one (application)" in lines["three"]
    assert "remove   no rule keeps it" in lines["one"]
    assert "nothing was removed; to remove 2, say --yes" in told
    assert set(quiesce.points("shop")) == {"one", "two", "three"}
    assert [e["workflow"] for e in quiesce.executions()] == ["backup"] * 3


def test_with_yes_it_removes_what_no_rule_keeps_by_remove_backup(
    quiesce: CommandLine, kept_shop: Shop
) -> None:
    quiesce("backups", "prune", "shop", "--keep-last", "1", "--yes")
    assert set(quiesce.points("shop")) == {"three"}
    stored = {name: is_stored(quiesce, name, kept_shop) for name in ("one", "two", "three")}
    assert stored == {"one": False, "two": False, "three": True}
    removals = [e for e in quiesce.executions() if e["workflow"] == "remove_backup"]
    assert [(e["state"], e["points"]) for e in removals] == [("completed", ["two"]), ("completed", ["one"])]
    again = quiesce("backups", "prune", "shop", "--keep-last", "1", "--yes").out
    assert "remove" not in again
    quiesce("restore", "shop", "-p", "snapshot_name=three")


def test_programs_are_told_the_plan_and_what_came_of_it(quiesce: CommandLine, kept_shop: Shop) -> None:
    plan = quiesce("backups", "prune", "shop", "--keep-last", "2", "--json").json
    verdicts = [(v["point"]["name"], v["kept"]) for v in plan["retention"]["verdicts"]]
    assert verdicts == [("three", True), ("two", True), ("one", False)]
    assert plan["schema"] == 1
    lines = quiesce("backups", "prune", "shop", "--keep-last", "2", "--yes", "--json").lines
    assert [line["report"]["execution"]["points"] for line in lines if "report" in line] == [["one"]]
    assert lines[0]["retention"]["policy"]["last"] == 2


def test_snapshots_and_backups_are_counted_apart(quiesce: CommandLine, shop: Shop) -> None:
    back_up(quiesce, "full")
    for name in ("snap1", "snap2"):
        back_up(quiesce, name, "-p", "snapshot_incremental=true")
    quiesce("backups", "prune", "shop", "--keep-within", "1h", "--yes")
    assert set(quiesce.points("shop")) == {"full", "snap1", "snap2"}
    quiesce("backups", "prune", "shop", "--keep-last", "1", "--yes")
    assert set(quiesce.points("shop")) == {"full", "snap2"}


def test_only_those_of_one_type_can_be_looked_at(quiesce: CommandLine, shop: Shop) -> None:
    for name, kind in (("d1", "daily"), ("d2", "daily"), ("other", "irregular")):
        back_up(quiesce, name, *FULL, "-p", f"snapshot_type={kind}")
    quiesce("backups", "prune", "shop", "--type", "daily", "--keep-last", "1", "--yes")
    assert set(quiesce.points("shop")) == {"d2", "other"}


def test_a_damaged_one_does_not_count_as_the_last_good_one(quiesce: CommandLine, kept_shop: Shop) -> None:
    (kept_shop.data / "more").write_text("what only the last one holds")
    back_up(quiesce, "four")
    flip_content(quiesce.home, quiesce.home / "repository", f"shop/four/{kept_shop.instances['files']}")
    quiesce("backups", "verify", "shop", "four", status=ExitStatus.DAMAGED)
    quiesce("backups", "prune", "shop", "--keep-last", "1", "--yes")
    assert set(quiesce.points("shop")) == {"three", "four"}
    quiesce("backups", "verify", "shop", "three")


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        ([], ExitStatus.USAGE, "retention is off"),
        (["--yes"], ExitStatus.USAGE, "retention is off"),
        (["--keep-last", "0"], ExitStatus.USAGE, "--keep-last"),
        (["--keep-within", "a month"], ExitStatus.USAGE, "36h, 30d or 8w"),
    ],
    ids=["no rule", "no rule and yes", "keep nothing", "no age"],
)
def test_what_is_no_rule_is_refused_and_nothing_removed(
    quiesce: CommandLine, shop: Shop, options: list[str], status: int, text: str
) -> None:
    back_up(quiesce, "one")
    assert text in quiesce("backups", "prune", "shop", *options, status=status).err
    assert set(quiesce.points("shop")) == {"one"}


def test_an_unknown_deployment_is_refused(quiesce: CommandLine) -> None:
    assert "there is no deployment" in quiesce("backups", "prune", "x", "--keep-last", "1", status=4).err


@pytest.fixture
def held_shop(quiesce: CommandLine, opened: Opener) -> Iterator[Shop]:
    """A shop with three snapshots, whose removals wait for a file ``go``."""
    shop = opened(quiesce, SLOW_SHOP, with_three_snapshots)
    yield shop
    (shop.directory / "go").touch()


def with_three_snapshots(quiesce: CommandLine, shop: Shop) -> None:
    (shop.directory / "go").touch()
    for name in ("one", "two", "three"):
        back_up(quiesce, name, "--max-freeze", "10m")
    (shop.directory / "go").unlink()
    (shop.directory / "slow_delete.sh").write_text(
        "#!/bin/sh\ntouch removing\nwhile [ ! -e go ]; do sleep 0.05; done\n"
    )


def start_pruning(quiesce: CommandLine, shop: Shop, *rules: str) -> None:
    """Begin to prune, and die in the middle of the first removal."""
    process = quiesce.start("backups", "prune", "shop", *rules, "--yes")
    eventually((shop.directory / "removing").exists, "a removal has begun")
    process.kill()
    process.communicate()
    (shop.directory / "go").touch()


@pytest.mark.parametrize("keep", ["1", "2"], ids=["two to remove", "one to remove"])
def test_pruning_that_died_is_finished_by_pruning_again(
    quiesce: CommandLine, held_shop: Shop, keep: str
) -> None:
    start_pruning(quiesce, held_shop, "--keep-last", keep)
    left = {name: point["state"] for name, point in quiesce.points("shop").items()}
    assert left == {"one": "complete", "two": "complete", "three": "complete"} | {
        {"1": "two", "2": "one"}[keep]: "removing"
    }
    quiesce("backups", "prune", "shop", "--keep-last", keep, "--yes")
    assert set(quiesce.points("shop")) == {"1": {"three"}, "2": {"two", "three"}}[keep]
    assert {e["state"] for e in quiesce.executions()} == {"completed"}


def test_while_another_execution_runs_nothing_is_removed(quiesce: CommandLine, held_shop: Shop) -> None:
    running = quiesce.start("remove-backup", "shop", "-p", "snapshot_name=three")
    eventually((held_shop.directory / "removing").exists, "a removal has begun")
    refused = quiesce("backups", "prune", "shop", "--keep-last", "1", "--yes", status=ExitStatus.REFUSED)
    assert "[busy]" in refused.err
    (held_shop.directory / "go").touch()
    assert running.wait(60) == ExitStatus.OK
    assert set(quiesce.points("shop")) == {"one", "two"}


def test_a_removal_that_fails_leaves_the_others_to_be_removed(quiesce: CommandLine, held_shop: Shop) -> None:
    (held_shop.directory / "slow_delete.sh").write_text('#!/bin/sh\n[ "$snapshot_name" != two ]\n')
    failed = quiesce(*("backups", "prune", "shop", "--keep-last", "1", "--yes"), status=ExitStatus.FAILED)
    assert "1 of 2 restore points were not removed: two" in failed.err
    assert set(quiesce.points("shop")) == {"two", "three"}
