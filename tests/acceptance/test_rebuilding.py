"""The database is lost; the blueprint and the repository are not (docs/catalog.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import ExitStatus
from tests.repository_objects import packs, point_object, points, spoil

from .conftest import Opener
from .shop import SHOP, Answer, CommandLine, Shop

FULL = ("-p", "snapshot_incremental=false")


@pytest.fixture
def saved_shop(quiesce: CommandLine, opened: Opener) -> Shop:
    """A shop with an order for tea in the backup ``one`` and coffee too in ``two``."""
    return opened(quiesce, SHOP, with_two_backups)


def with_two_backups(quiesce: CommandLine, shop: Shop) -> None:
    shop.order("tea")
    quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL, "-p", "snapshot_type=daily")
    shop.order("coffee")
    quiesce("backup", "shop", "-p", "snapshot_name=two", *FULL)


def lose_database(quiesce: CommandLine, *, keys: bool = True) -> None:
    """Lose everything below QUIESCE_HOME but the repository; the *keys* are brought back from the safe."""
    safe = quiesce.directory / "safe.keys"
    quiesce("keys", "export", "--output", str(safe))
    for path in quiesce.home.iterdir():
        if path.name != "repository":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if keys:
        assert "1 new key" in quiesce("keys", "import", str(safe)).out


def init(quiesce: CommandLine, shop: Shop, *options: str) -> Answer:
    """Make the deployment anew."""
    return quiesce("init", "shop.yaml", "-b", "shop", "-i", f"data={shop.data}", *options)


def init_again(quiesce: CommandLine, shop: Shop) -> None:
    """Make the deployment anew, as its backups know it."""
    told = init(quiesce, shop, "--from-repository", str(quiesce.home / "repository")).out
    assert "next: quiesce backups rebuild shop" in told


def manifest(quiesce: CommandLine, name: str, *inside: str) -> Path:
    """A manifest in the repository: of a whole restore point, or *inside* it of an instance."""
    return point_object(quiesce.home, quiesce.home / "repository", "/".join(("shop", name, *inside)))


def test_what_is_restored_without_the_old_database_equals_what_was_backed_up(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    before, known = saved_shop.contents(), quiesce.points("shop")
    lose_database(quiesce)
    shutil.rmtree(saved_shop.data)

    init_again(quiesce, saved_shop)
    assert quiesce.points("shop") == {}
    told = quiesce("backups", "rebuild", "shop").out
    assert "2 added, 0 known, 0 left out" in told
    assert quiesce.points("shop") == known
    assert known["one"]["consistency"] == "application"
    quiesce("backups", "verify", "shop", "two")
    quiesce("restore", "shop", "-p", "snapshot_name=two")
    assert saved_shop.contents() == before
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert saved_shop.orders() == ["tea"]


def test_what_was_rebuilt_can_be_removed_and_leaves_nothing(quiesce: CommandLine, saved_shop: Shop) -> None:
    lose_database(quiesce)
    init_again(quiesce, saved_shop)
    quiesce("backups", "rebuild", "shop")
    quiesce("remove-backup", "shop", "-p", "snapshot_name=one")
    assert not manifest(quiesce, "one").exists()
    quiesce("backups", "prune", "shop", "--keep-last", "1", "--yes")
    assert "0 added, 1 known, 0 left out" in quiesce("backups", "rebuild", "shop").out
    quiesce("remove-backup", "shop", "--all", "true")
    assert points(quiesce.home / "repository") == []


def test_a_node_with_a_repository_of_its_own_is_found_there(quiesce: CommandLine, shop: Shop) -> None:
    blueprint = SHOP.replace(
        "{path: {get_input: data}}", f"{{path: {{get_input: data}}, repository: {shop.directory / 'vault'}}}"
    )
    (shop.directory / "shop.yaml").write_text(blueprint)
    quiesce("deployments", "remove", "shop")
    init(quiesce, shop)
    shop.order("tea")
    quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL)
    lose_database(quiesce)
    shop.order("coffee")
    init(quiesce, shop, "--from-repository", str(shop.directory / "vault"))
    quiesce("backups", "rebuild", "shop")
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert shop.orders() == ["tea"]


def test_rebuilding_twice_changes_nothing_and_keeps_proofs(quiesce: CommandLine, saved_shop: Shop) -> None:
    quiesce("backups", "verify", "shop", "one")
    known = quiesce.points("shop")
    assert "0 added, 2 known, 0 left out" in quiesce("backups", "rebuild", "shop").out
    assert quiesce.points("shop") == known


def test_a_damaged_manifest_is_listed_and_left_out(quiesce: CommandLine, saved_shop: Shop) -> None:
    lose_database(quiesce)
    spoil([manifest(quiesce, "one")])
    init_again(quiesce, saved_shop)
    answer = quiesce("backups", "rebuild", "shop", "--json", status=ExitStatus.DAMAGED)
    rebuilt, _ = json_documents(answer.out)
    assert [point["name"] for point in rebuilt["rebuilt"]["added"]] == ["two"]
    assert "not what was written" in rebuilt["rebuilt"]["left_out"][0]["reason"]
    assert set(quiesce.points("shop")) == {"two"}


def test_a_copy_whose_manifest_or_file_is_damaged_is_left_out(quiesce: CommandLine, saved_shop: Shop) -> None:
    files = saved_shop.instances["files"]
    lose_database(quiesce)
    spoil([manifest(quiesce, "one", files)])
    for path in packs(quiesce.home / "repository"):
        path.unlink()
    init_again(quiesce, saved_shop)
    told = quiesce("backups", "rebuild", "shop", status=ExitStatus.DAMAGED).out
    assert "in no pack that" in told
    assert f"left out: {files} of one: no complete copy of it is there" in told
    assert quiesce.points("shop") == {}


def test_what_is_incomplete_is_listed_and_left_out(quiesce: CommandLine, saved_shop: Shop) -> None:
    files = saved_shop.instances["files"]
    quiesce("backup", "shop", "-p", "snapshot_name=three", *FULL)
    lose_database(quiesce)
    init_again(quiesce, saved_shop)
    manifest(quiesce, "one").unlink()
    manifest(quiesce, "two", files).unlink()
    told = quiesce("backups", "rebuild", "shop", status=ExitStatus.DAMAGED).out
    assert f"left out: {files} of one: it is incomplete: its restore point has no manifest" in told
    assert f"left out: {files} of two: no complete copy of it is there" in told
    assert set(quiesce.points("shop")) == {"three"}


def test_a_repository_without_backups_of_the_deployment_says_whose_it_has(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    repository = str(quiesce.home / "repository")
    refused = quiesce(
        *("init", "shop.yaml", "-b", "bank", "-i", "data=/d", "--from-repository", repository), status=4
    )
    assert "no backup" in refused.err
    assert "there is: shop" in refused.err


def test_a_backup_of_another_deployment_is_listed_and_left_out(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    told = quiesce(
        *("init", "shop.yaml", "-b", "bank", "-i", f"data={saved_shop.data}"),
    )
    assert "deployment bank" in told.out
    rebuilt = quiesce("backups", "rebuild", "bank").out
    assert rebuilt.count("it belongs to deployment shop") == 2
    assert quiesce.points("bank") == {}


def test_a_deployment_with_other_instances_is_told_how_to_get_the_right_ones(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    lose_database(quiesce)
    init(quiesce, saved_shop)
    told = quiesce("backups", "rebuild", "shop").out
    assert told.count("init it with --from-repository") == 2
    assert quiesce.points("shop") == {}


def test_a_deployment_that_keeps_nothing_in_a_repository_has_nothing_to_rebuild(
    quiesce: CommandLine,
) -> None:
    (quiesce.directory / "plain.yaml").write_text(
        "tosca_definitions_version: cloudify_dsl_1_3\nimports: [cloudify/types/types.yaml]\n"
        "node_templates: {a: {type: cloudify.nodes.Root}}\n"
    )
    quiesce("init", "plain.yaml", "-b", "plain")
    refused = quiesce("backups", "rebuild", "plain", status=ExitStatus.REFUSED)
    assert "keeps backups in a repository" in refused.err


def test_a_backup_whose_manifest_cannot_be_written_is_kept_and_has_failed(
    quiesce: CommandLine, shop: Shop
) -> None:
    """It is complete, and nobody could bring it back without this catalog."""
    quiesce("repository", "init", str(quiesce.home / "repository"))
    manifest(quiesce, "one").mkdir(parents=True)
    told = quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL, status=ExitStatus.FAILED)
    assert "the manifest of one could not be brought up to date" in told.err
    assert quiesce.points("shop")["one"]["state"] == "complete"
    assert "could not be brought up to date" in quiesce("executions", "list").out
    assert quiesce.executions()[-1]["state"] == "failed"
    events = quiesce("events", quiesce.executions()[-1]["id"]).out
    assert "'backup' workflow execution failed: the manifest of one" in events
    assert "execution succeeded" not in events


def json_documents(text: str) -> list[Any]:
    """The JSON documents in *text*, one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text.strip():
        document, end = decoder.raw_decode(text.strip())
        found.append(document)
        text = text.strip()[end:]
    return found


def test_a_name_that_the_repository_knows_is_refused_before_anything_is_made(
    quiesce: CommandLine, saved_shop: Shop
) -> None:
    """The catalog is lost, the instances are others: the name's manifest is that of an older backup."""
    lose_database(quiesce)
    init(quiesce, saved_shop)
    before = {path: path.read_bytes() for path in (quiesce.home / "repository").rglob("*") if path.is_file()}
    told = quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL, status=ExitStatus.REFUSED).err
    assert "quiesce backups rebuild shop" in told
    assert quiesce.executions() == []
    quiesce("backup", "shop", "-p", "snapshot_name=three", *FULL)
    now = {path: path.read_bytes() for path in (quiesce.home / "repository").rglob("*") if path.is_file()}
    assert {path: data for path, data in now.items() if path in before} == before
