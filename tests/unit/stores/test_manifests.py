"""Manifests of restore points in a repository."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from quiesce.errors import ForeignObjectError, ProviderError, UsageError
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId
from quiesce.model.manifest import PointManifest
from quiesce.model.restore_point import RestorePoint
from quiesce.model.topology import Instance, Link
from quiesce.repository import Point, PointKey
from quiesce.stores.manifests import RepositoryManifests
from tests.repository_objects import cut_off, points, spoil
from tests.unit.fixed_keyring import a_home

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


def manifests(directory: Path, letter: bytes = b"k") -> RepositoryManifests:
    return RepositoryManifests(a_home(directory / "drafts", letter))


def repository(directory: Path) -> str:
    return str(directory / "repository")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the manifest of ONE lies, written."""
    manifests(tmp_path).write(repository(tmp_path), MANIFEST)
    (written,) = points(tmp_path / "repository")
    return written


def _known(manifest: PointManifest, digest: str) -> PointManifest:
    return replace(manifest, point=replace(manifest.point, manifest_sha256=digest))


@made.relaxed
@given(made.restore_points)
def test_what_was_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, point: RestorePoint
) -> None:
    directory = tmp_path_factory.mktemp("home")
    manifest = replace(MANIFEST, point=replace(point, deployment=SHOP, name=BackupName("one")))
    digest = manifests(directory).write(repository(directory), manifest)
    survey = manifests(directory).survey(repository(directory), SHOP)
    assert survey.manifests == (_known(manifest, digest),)
    assert survey.left_out == ()
    assert survey.deployments == {"shop"}


def test_it_is_private_and_a_second_one_takes_its_place(path: Path, tmp_path: Path) -> None:
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    again = replace(MANIFEST, point=replace(ONE, type="weekly"))
    digest = manifests(tmp_path).write(repository(tmp_path), again)
    assert manifests(tmp_path).survey(repository(tmp_path), SHOP).manifests == (_known(again, digest),)
    assert manifests(tmp_path).digest(repository(tmp_path), ONE) == digest


def test_removing_it_twice_is_fine(path: Path, tmp_path: Path) -> None:
    for _ in range(2):
        manifests(tmp_path).remove(repository(tmp_path), ONE)
    assert not path.exists()
    assert manifests(tmp_path).digest(repository(tmp_path), ONE) is None


def test_a_manifest_of_another_deployment_is_left_out(path: Path, tmp_path: Path) -> None:
    survey = manifests(tmp_path).survey(repository(tmp_path), DeploymentName("bank"))
    assert survey.manifests == ()
    assert [(each.path, each.damaged) for each in survey.left_out] == [("shop/one", False)]


@pytest.mark.parametrize("harm", [spoil, cut_off], ids=["changed", "cut off"])
def test_a_manifest_that_cannot_be_trusted_is_left_out_and_costs_nothing_else(
    path: Path, tmp_path: Path, harm: Callable[[list[Path]], None]
) -> None:
    other = replace(MANIFEST, point=replace(ONE, name=BackupName("two")))
    digest = manifests(tmp_path).write(repository(tmp_path), other)
    harm([path])
    survey = manifests(tmp_path).survey(repository(tmp_path), SHOP)
    assert survey.manifests == (_known(other, digest),)
    assert [each.damaged for each in survey.left_out] == [True]
    assert manifests(tmp_path).digest(repository(tmp_path), ONE) not in {None, digest}


def test_one_in_the_place_of_another_is_not_taken_for_it(path: Path, tmp_path: Path) -> None:
    other = replace(MANIFEST, point=replace(ONE, name=BackupName("two")))
    manifests(tmp_path).write(repository(tmp_path), other)
    (place,) = set(points(tmp_path / "repository")) - {path}
    place.write_bytes(path.read_bytes())
    survey = manifests(tmp_path).survey(repository(tmp_path), SHOP)
    assert [each.point.name for each in survey.manifests] == ["one"]
    assert [each.damaged for each in survey.left_out] == [True]


def test_one_of_a_newer_version_is_left_out(tmp_path: Path) -> None:
    home = a_home(tmp_path / "drafts")
    with home.opened_or_made(repository(tmp_path)) as opened:
        key = PointKey(deployment="shop", point="one")
        opened.put(Point(key=key, made_at=0.0, content={"version": 99, "manifest": {}}))
    survey = manifests(tmp_path).survey(repository(tmp_path), SHOP)
    assert [each.reason for each in survey.left_out] == ["a newer quiesce has written shop/one"]


def test_names_never_lead_out_of_the_repository(tmp_path: Path) -> None:
    evil = replace(MANIFEST, point=replace(ONE, name=BackupName("../one")))
    with pytest.raises(UsageError):
        manifests(tmp_path).write(repository(tmp_path), evil)


def test_what_is_no_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "repository").touch()
    with pytest.raises(ProviderError):
        manifests(tmp_path).write(repository(tmp_path), MANIFEST)


def test_what_another_execution_made_is_neither_replaced_nor_removed(path: Path, tmp_path: Path) -> None:
    others, before = replace(ONE, execution=ExecutionId("backup-of-somebody-else")), path.read_bytes()
    with pytest.raises(ForeignObjectError):
        manifests(tmp_path).write(repository(tmp_path), replace(MANIFEST, point=others))
    manifests(tmp_path).remove(repository(tmp_path), others)
    assert path.read_bytes() == before


@pytest.mark.parametrize("known", [False, True])
def test_a_damaged_one_is_touched_only_when_the_catalog_knows_it(
    path: Path, tmp_path: Path, known: bool
) -> None:
    spoil([path])
    manifests(tmp_path).remove(repository(tmp_path), replace(ONE, manifest_sha256="00" if known else ""))
    assert path.exists() is not known


def test_an_empty_mount_point_is_no_repository(path: Path, tmp_path: Path) -> None:
    assert manifests(tmp_path).why_away(repository(tmp_path)) == ""
    (tmp_path / "elsewhere").mkdir()
    assert "may not be mounted" in manifests(tmp_path).why_away(str(tmp_path / "elsewhere"))
    assert manifests(tmp_path).why_away(str(tmp_path / "not" / "there"))
    assert manifests(tmp_path).survey(str(tmp_path / "elsewhere"), SHOP).manifests == ()


def test_what_was_put_after_a_check_is_seen(path: Path, tmp_path: Path) -> None:
    now = path.stat().st_mtime
    assert not manifests(tmp_path).changed_since(repository(tmp_path), ONE, now + 10.0)
    assert manifests(tmp_path).changed_since(repository(tmp_path), ONE, now - 10.0)
    assert manifests(tmp_path).changed_since(str(tmp_path / "elsewhere"), ONE, now + 10.0)


def test_without_a_key_the_newest_is_not_believed(path: Path, tmp_path: Path) -> None:
    mine = manifests(tmp_path).condition(repository(tmp_path), ONE)
    assert (mine.begun, mine.distrust) == (True, "")
    theirs = manifests(tmp_path, b"o").condition(repository(tmp_path), ONE)
    assert "keys import" in theirs.remedy
