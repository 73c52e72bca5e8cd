"""Manifests of restore points in a repository."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from quiesce.archives import MARK, Archives
from quiesce.archives.manifest import StoredFile
from quiesce.archives.streams import damage_of
from quiesce.errors import ForeignObjectError, NonRecoverableError, UsageError
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId
from quiesce.model.manifest import PointManifest
from quiesce.model.restore_point import RestorePoint
from quiesce.model.topology import Instance, Link
from quiesce.stores.manifests import RepositoryManifests
from tests.unit.fixed_keyring import FixedKeyring

from . import made
from .test_catalog import ONE, SHOP

VM, DB = InstanceId("vm_1"), InstanceId("db_1")
INSTANCES = {
    VM: Instance(id=VM, node=NodeId("vm")),
    DB: Instance(
        id=DB, node=NodeId("db"), links=(Link(target=VM, type="r", contained=True),), groups=("g_1",)
    ),
}
MANIFEST = PointManifest(point=ONE, instances=INSTANCES, runtime_properties={VM: {"ip": "10.0.0.7"}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the manifest of ONE lies, written."""
    RepositoryManifests(FixedKeyring()).write(str(tmp_path), MANIFEST)
    return tmp_path / "shop" / "one" / "manifest.json"


def _known(manifest: PointManifest, digest: str) -> PointManifest:
    return replace(manifest, point=replace(manifest.point, manifest_sha256=digest))


@made.relaxed
@given(made.restore_points)
def test_what_was_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, point: RestorePoint
) -> None:
    directory = str(tmp_path_factory.mktemp("repository"))
    manifest = replace(MANIFEST, point=replace(point, deployment=SHOP, name=BackupName("one")))
    digest = RepositoryManifests(FixedKeyring()).write(directory, manifest)
    survey = RepositoryManifests(FixedKeyring()).survey(directory, SHOP)
    assert survey.manifests == (_known(manifest, digest),)
    assert survey.left_out == ()
    assert survey.deployments == {"shop"}


def test_it_is_private_and_a_second_one_takes_its_place(path: Path, tmp_path: Path) -> None:
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    again = replace(MANIFEST, point=replace(ONE, type="weekly"))
    digest = RepositoryManifests(FixedKeyring()).write(str(tmp_path), again)
    assert RepositoryManifests(FixedKeyring()).survey(str(tmp_path), SHOP).manifests == (
        _known(again, digest),
    )


def test_removing_it_twice_is_fine_and_leaves_no_empty_directory(path: Path, tmp_path: Path) -> None:
    for _ in range(2):
        RepositoryManifests(FixedKeyring()).remove(str(tmp_path), ONE)
    assert [each.name for each in tmp_path.iterdir()] == [MARK]


def test_what_lies_beside_it_stays_when_it_is_removed(path: Path, tmp_path: Path) -> None:
    (path.parent / "vm_1").mkdir()
    RepositoryManifests(FixedKeyring()).remove(str(tmp_path), ONE)
    assert [each.name for each in path.parent.iterdir()] == ["vm_1"]


def test_a_manifest_of_another_deployment_is_left_out(path: Path, tmp_path: Path) -> None:
    survey = RepositoryManifests(FixedKeyring()).survey(str(tmp_path), DeploymentName("bank"))
    assert survey.manifests == ()
    assert [(each.path, each.damaged) for each in survey.left_out] == [(str(path), False)]


def _changed(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "body": {**content["body"], "point": {**content["body"]["point"], "type": "weekly"}}}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(json.dumps(_changed(json.loads(path.read_text())))),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99})),
        lambda path: path.parent.rename(path.parent.with_name("two")),
    ],
    ids=["cut off", "something else", "changed", "newer", "moved"],
)
def test_a_manifest_that_cannot_be_trusted_is_left_out(
    path: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(path)
    survey = RepositoryManifests(FixedKeyring()).survey(str(tmp_path), SHOP)
    assert survey.manifests == ()
    assert [each.damaged for each in survey.left_out] == [True]


def test_names_never_lead_out_of_the_repository(tmp_path: Path) -> None:
    evil = replace(MANIFEST, point=replace(ONE, name=BackupName("../one")))
    with pytest.raises(UsageError):
        RepositoryManifests(FixedKeyring()).write(str(tmp_path), evil)


def test_a_directory_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NonRecoverableError, match="cannot write"):
        RepositoryManifests(FixedKeyring()).write(str(tmp_path / "file"), MANIFEST)


ATTACKS = ["pipe", "link", "device", "directory", "deep", "huge", "socket", "unreadable text"]


def put_instead(path: Path, attack: str) -> None:
    """Replace *path* by what somebody who can write to the repository puts there."""
    path.unlink()
    match attack:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/etc/passwd")
        case "device":
            path.symlink_to("/dev/zero")
        case "directory":
            path.mkdir()
        case "deep":
            path.write_text("[" * 1_000_000)
        case "huge":
            with path.open("wb") as file:
                file.truncate(3 * 1024**3)
        case "socket":
            with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name)
        case _:
            path.write_bytes(b"\xff\xfe{")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", ATTACKS)
def test_one_bad_entry_costs_one_entry(path: Path, tmp_path: Path, attack: str) -> None:
    """Nothing hangs, nothing else is lost, and the entry is named."""
    other = replace(MANIFEST, point=replace(ONE, name=BackupName("two")))
    digest = RepositoryManifests(FixedKeyring()).write(str(tmp_path), other)
    put_instead(path, attack)
    survey = RepositoryManifests(FixedKeyring()).survey(str(tmp_path), SHOP)
    assert survey.manifests == (_known(other, digest),)
    assert [left.path for left in survey.left_out] == [str(path)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", ATTACKS)
def test_one_bad_copy_costs_one_copy(tmp_path: Path, attack: str) -> None:
    """The manifests of copies are read as carefully."""
    path = tmp_path / "shop" / "one" / "vm_1" / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text("")
    put_instead(path, attack)
    contents = Archives(tmp_path, FixedKeyring()).contents(SHOP)
    assert contents.complete == ()
    assert [damage.path for damage in contents.damaged] == [str(path)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", ["pipe", "link", "device", "directory", "socket"])
def test_a_stored_file_that_is_none_is_damage(tmp_path: Path, attack: str) -> None:
    """Verification neither waits for it nor follows it."""
    path = tmp_path / "content.tar"
    path.write_text("")
    put_instead(path, attack)
    assert damage_of(path, StoredFile(path="content.tar", size_bytes=1, sha256="")) is not None


OTHERS = replace(ONE, execution=ExecutionId("backup-of-somebody-else"))


def test_what_another_execution_made_is_neither_replaced_nor_removed(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ForeignObjectError):
        RepositoryManifests(FixedKeyring()).write(str(tmp_path), replace(MANIFEST, point=OTHERS))
    RepositoryManifests(FixedKeyring()).remove(str(tmp_path), OTHERS)
    assert path.read_bytes() == before


@pytest.mark.parametrize("known", [False, True])
def test_a_damaged_one_is_touched_only_when_the_catalog_knows_it(
    path: Path, tmp_path: Path, known: bool
) -> None:
    path.write_text("{")
    RepositoryManifests(FixedKeyring()).remove(
        str(tmp_path), replace(ONE, manifest_sha256="00" if known else "")
    )
    assert path.exists() is not known


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda path: (path.unlink(), os.mkfifo(path)), lambda path: (path.unlink(), path.mkdir())],
    ids=["gone", "a pipe", "a directory"],
)
def test_what_is_no_file_has_no_digest(path: Path, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(path)
    assert RepositoryManifests(FixedKeyring()).digest(str(tmp_path), ONE) is None


def test_an_empty_mount_point_is_no_repository(path: Path, tmp_path: Path) -> None:
    assert RepositoryManifests(FixedKeyring()).why_away(str(tmp_path)) == ""
    (tmp_path / "elsewhere").mkdir()
    assert MARK in RepositoryManifests(FixedKeyring()).why_away(str(tmp_path / "elsewhere"))
    assert RepositoryManifests(FixedKeyring()).why_away(str(tmp_path / "not" / "there"))
