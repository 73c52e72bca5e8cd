"""The main job through the command line: write, back up, change, restore, remove."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.repository_objects import packs, points, spoil

from .shop import CommandLine, Shop

EVENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  (CFY|LOG) <shop>( \[[\w.-]+\])? .+")


@pytest.mark.parametrize("incremental", ["true", "false"], ids=["snapshot", "backup"])
def test_a_restore_brings_back_exactly_what_was_there_at_the_cut(
    quiesce: CommandLine, shop: Shop, incremental: str
) -> None:
    shop.order("tea")
    before = shop.contents()
    quiesce("backup", "shop", "-p", "snapshot_name=one", "-p", f"snapshot_incremental={incremental}")
    shop.order("coffee")
    (shop.data / "hours.txt").write_text("closed")
    (shop.data / "new.txt").write_text("written after the cut")

    quiesce("restore", "shop", "-p", "snapshot_name=one")

    assert shop.contents() == before
    assert shop.orders() == ["tea"]
    assert not shop.is_frozen()


def test_what_was_destroyed_altogether_is_restored(quiesce: CommandLine, shop: Shop) -> None:
    shop.order("tea")
    quiesce("backup", "shop", "-p", "snapshot_name=one", "--snapshot-incremental", "false")
    (shop.data).rename(shop.directory / "stolen")

    quiesce("restore", "shop", "-p", "snapshot_name=one")

    assert shop.orders() == ["tea"]


def test_a_removed_restore_point_leaves_nothing_behind(quiesce: CommandLine, shop: Shop) -> None:
    before = _tree(shop.directory)
    for name, incremental in (("one", "true"), ("two", "false")):
        quiesce("backup", "shop", "-p", f"snapshot_name={name}", "-p", f"snapshot_incremental={incremental}")
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one")
    assert list(quiesce.points("shop")) == ["two"]
    quiesce("remove-backup", "shop", "--all", "true")
    assert quiesce.points("shop") == {}
    assert _tree(shop.directory) == before
    assert points(quiesce.home / "repository") == []


def test_a_restore_point_says_what_it_is_worth_and_how_long_things_were_frozen(
    quiesce: CommandLine, shop: Shop
) -> None:
    quiesce("backup", "shop", "-p", "snapshot_name=one", "-p", "snapshot_type=daily")
    point = quiesce("backups", "show", "shop", "one", "--json").json["restore_point"]
    assert point["consistency"] == "application"
    assert point["state"] == "complete"
    assert point["type"] == "daily"
    assert point["window_s"] > 0
    assert [artifact["instance"] for artifact in point["artifacts"]] == [shop.instances["files"]]


def test_a_proof_is_kept_with_the_restore_point(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "-p", "snapshot_name=one", "-p", "snapshot_incremental=false")
    assert quiesce.points("shop")["one"]["proofs"] == []
    quiesce("backups", "verify", "shop", "one")
    assert [proof["passed"] for proof in quiesce.points("shop")["one"]["proofs"]] == [True]


def test_a_damaged_backup_is_found_and_never_restored(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "-p", "snapshot_name=one", "-p", "snapshot_incremental=false")
    spoil(packs(quiesce.home / "repository"))
    shop.order("coffee")

    assert "damaged" in quiesce("backups", "verify", "shop", "one", status=11).err
    failed = quiesce("restore", "shop", "-p", "snapshot_name=one", status=11)

    assert "[damaged]" in failed.err
    assert shop.orders() == ["coffee"]
    assert not shop.is_frozen()


def test_event_lines_are_those_that_cfy_users_know(quiesce: CommandLine, shop: Shop) -> None:
    lines = quiesce("backup", "shop", "-p", "snapshot_name=one").out.splitlines()
    assert [line for line in lines if not EVENT.fullmatch(line)] == []
    assert lines[0].endswith("CFY <shop> Starting 'backup' workflow execution")
    assert lines[-2].endswith("LOG <shop> INFO: Backuped to 'one'")
    assert lines[-1].endswith("CFY <shop> 'backup' workflow execution succeeded")


def test_events_can_be_read_again_later(quiesce: CommandLine, shop: Shop) -> None:
    printed = quiesce("backup", "shop", "-p", "snapshot_name=one").out
    (execution,) = quiesce.executions()
    assert quiesce("events", execution["id"]).out == printed
    told = quiesce("events", execution["id"], "--json").lines
    assert [line["event"]["message"] for line in told][-1] == "'backup' workflow execution succeeded"


def test_executions_are_listed_and_shown(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "-p", "snapshot_name=one")
    quiesce("executions", "start", "remove_backup", "-b", "shop", "-p", "snapshot_name=one")
    listed = quiesce.executions()
    assert [(e["workflow"], e["state"]) for e in listed] == [
        ("backup", "completed"),
        ("remove_backup", "completed"),
    ]
    shown = quiesce("executions", "show", listed[0]["id"], "--json").json["report"]
    assert (shown["frozen"], shown["thawed"], shown["owed"]) == (1, 1, [])
    assert {step["state"] for step in shown["steps"]} == {"done"}
    assert "frozen window" in quiesce("executions", "show", listed[0]["id"]).out


def test_every_json_answer_says_which_schema_it_follows(quiesce: CommandLine, shop: Shop) -> None:
    made = quiesce("backup", "shop", "-p", "snapshot_name=one", "--json").lines
    (execution,) = quiesce.executions()
    answers = [
        *made,
        quiesce("plan", "backup", "shop", "--json").json,
        quiesce("deployments", "list", "--json").json,
        quiesce("executions", "list", "--json").json,
        quiesce("executions", "show", execution["id"], "--json").json,
        quiesce("backups", "list", "--json").json,
        quiesce("backups", "show", "shop", "one", "--json").json,
        quiesce("backups", "verify", "shop", "one", "--json").json,
        quiesce("providers", "--json").json,
        quiesce("doctor", "shop", "--json").json,
        quiesce("recover", "--json").json,
        json.loads(quiesce("backup", "nothing", "--json", status=4).out),
    ]
    assert {answer["schema"] for answer in answers} == {1}
    assert list(made[-1]) == ["schema", "report"]


def test_statistics_gives_figures_of_every_instance(quiesce: CommandLine, shop: Shop) -> None:
    report = quiesce("statistics", "shop", "--json").lines[-1]["report"]
    assert set(report["measurements"]) == set(shop.instances.values())


@pytest.mark.parametrize("how", [["plan", "backup", "shop"], ["backup", "shop", "--dry-run"]])
def test_showing_what_would_happen_touches_nothing(quiesce: CommandLine, shop: Shop, how: list[str]) -> None:
    before = (_tree(shop.directory), shop.contents())
    assert "cut: " + shop.instances["files"] in quiesce(*how).out
    assert (_tree(shop.directory), shop.contents()) == before
    assert quiesce.executions() == []
    assert quiesce.points("shop") == {}


def test_a_deployment_is_forgotten_only_when_nothing_would_be_lost(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "-p", "snapshot_name=one")
    quiesce("deployments", "remove", "shop", status=5)
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one")
    quiesce("deployments", "remove", "shop")
    assert quiesce("deployments", "list", "--json").json["deployments"] == []


def _tree(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
