"""What the doctor finds beside the nodes themselves: repositories, and two nodes on one path."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import ExitStatus

from .shop import CommandLine, Shop

TWICE = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}, inner: {type: string}, away: {type: string}}
node_templates:
  one: {type: quiesce.nodes.host.Directory, properties: {path: {get_input: data}}}
  other: {type: quiesce.nodes.host.Directory, properties: {path: {get_input: inner}}}
  away: {type: quiesce.nodes.host.Directory, properties: {path: {get_input: away}}}
"""


def failed(quiesce: CommandLine, status: ExitStatus = ExitStatus.REFUSED) -> Mapping[str, list[Any]]:
    """Return what did not pass, by what it was found of (an instance's random end left away)."""
    found = quiesce("doctor", "shop", "--json", status=status).json["findings"]
    return {
        name.rpartition("_")[0] or name: wrong
        for name, findings in found.items()
        if (wrong := [each for each in findings if not each["passed"]])
    }


@pytest.mark.parametrize("inner", ["data", "data/inner", "link"])
def test_nodes_that_save_the_same_files_are_named(quiesce: CommandLine, tmp_path: Path, inner: str) -> None:
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "database").mkdir()
    (tmp_path / "link").symlink_to("data")
    (quiesce.directory / "twice.yaml").write_text(TWICE)
    paths = {"data": "data", "inner": inner, "away": "database"}
    given = [word for name, path in paths.items() for word in ("-i", f"{name}={tmp_path / path}")]
    quiesce("init", "twice.yaml", "-b", "shop", *given)
    found = failed(quiesce)
    assert {name for name, wrong in found.items() if wrong[0]["check"] == "path"} == {"one", "other"}
    assert "other_" in found["one"][0]["detail"]


def test_a_repository_that_is_not_begun_is_nothing_to_complain_of(quiesce: CommandLine, shop: Shop) -> None:
    told = quiesce("doctor", "shop").out
    assert "reachable: the first full backup will begin it" in told
    assert "no full backup yet" in told


def test_a_repository_that_is_not_mounted_any_more_is_found(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    assert failed(quiesce, ExitStatus.OK) == {}
    (quiesce.home / "repository").rename(quiesce.home / "elsewhere")
    (quiesce.home / "repository").mkdir(0o700)
    (wrong,) = failed(quiesce).values()
    assert [each["check"] for each in wrong] == ["reachable"]
    assert "the catalog knows one there" in wrong[0]["detail"]


def test_a_key_that_is_lost_is_found_before_it_is_needed(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    (quiesce.home / "repository.keys").unlink()
    (wrong,) = failed(quiesce).values()
    assert [each["check"] for each in wrong] == ["key"]
    assert "quiesce keys import" in wrong[0]["remedy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a file system is mounted")
def test_a_repository_without_room_and_one_that_is_read_only_are_found(
    quiesce: CommandLine, shop: Shop
) -> None:
    (shop.data / "much").write_bytes(os.urandom(3 << 20))
    where = quiesce.home / "repository"
    where.mkdir(0o700, parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m,mode=700", "none", where], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
        (wrong,) = failed(quiesce).values()
        assert [each["check"] for each in wrong] == ["room"]
        subprocess.run(["mount", "-o", "remount,ro", where], check=True)
        (wrong,) = failed(quiesce).values()
        assert [each["check"] for each in wrong] == ["writable", "room"]
    finally:
        subprocess.run(["umount", where], check=True)


def test_a_lost_database_is_told_from_a_new_one(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "--full", "-p", "snapshot_name=one")
    for path in quiesce.home.glob("quiesce.db*"):
        path.unlink()
    (quiesce.home / "quiesce.db").touch(0o600)
    told = quiesce("backups", "list", "shop", status=ExitStatus.NOT_FOUND).err
    assert "--from-repository" in told
    assert "quiesce backups rebuild shop" in told
