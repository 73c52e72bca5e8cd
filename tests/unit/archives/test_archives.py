"""The directory repository: what is complete, what is damaged, what is not ours."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from tests.unit.fixed_keyring import FixedKeyring

from quiesce.archives import MARK, Archives, BackupKey, Compression, Draft, Manifest
from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    NonRecoverableError,
    ResourceNotFoundError,
    UsageError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId

PLACE = BackupKey(
    deployment=DeploymentName("shop"), point=BackupName("nightly"), instance=InstanceId("db_a1b2c3")
)
EXECUTION = ExecutionId("e-1")


@pytest.fixture
def repository(tmp_path: Path) -> Archives:
    return Archives(tmp_path / "repository", FixedKeyring())


def begin(repository: Archives, execution: str = EXECUTION, place: BackupKey = PLACE) -> Draft:
    return repository.begin(place, execution=ExecutionId(execution), provider="host")


def complete(draft: Draft, **content: str) -> Manifest:
    return draft.complete(
        function="quiesce.host.snapshot",
        consistency=Consistency.CRASH,
        cut_at=1.5,
        made_at=2.5,
        content=dict(content),
        note="as it was",
    )


def store(repository: Archives, data: bytes = b"x" * 3_000_000, place: BackupKey = PLACE) -> Manifest:
    draft = begin(repository, place=place)
    with draft.create("disk.raw") as out:
        out.write(data)
    with draft.create("tree.tar.gz", Compression.GZIP) as out:
        out.write(data)
    return complete(draft, kind="directory")


def test_a_complete_backup_is_found_as_it_was_written(repository: Archives) -> None:
    manifest = store(repository)

    assert repository.find(PLACE) == manifest
    assert manifest.content["kind"] == "directory"
    assert [file["path"] for file in manifest.content["files"]] == ["disk.raw", "tree.tar.gz"]  # type: ignore[union-attr,index,call-overload]
    assert repository.verify(manifest) == ()


def test_a_draft_is_no_backup(repository: Archives) -> None:
    draft = begin(repository)
    with draft.create("disk.raw") as out:
        out.write(b"half")

    assert repository.find(PLACE) is None
    assert repository.contents().complete == ()
    with pytest.raises(ResourceNotFoundError):
        repository.manifest(PLACE)


def test_everything_is_private_to_the_user(repository: Archives) -> None:
    store(repository)

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in repository.root.rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_a_compressed_file_reads_as_what_was_written(repository: Archives) -> None:
    data = bytes(range(256)) * 10_000
    manifest = store(repository, data)

    with repository.open(manifest, "tree.tar.gz") as stored:
        assert stored.read(1000) == data[:1000]
        assert stored.read() == data[1000:]
        stored.check()
    assert gzip.decompress(repository.path(manifest, "tree.tar.gz").read_bytes()) == data


def test_the_same_execution_resumes_its_draft(repository: Archives) -> None:
    with begin(repository).create("one") as out:
        out.write(b"1")
    again = begin(repository)
    with contextlib.suppress(KeyboardInterrupt), again.create("two") as out:
        out.write(b"2")
        raise KeyboardInterrupt

    resumed = begin(repository)
    assert set(resumed.finished) == {"one"}
    manifest = complete(resumed)
    assert [file.path for file in manifest.files] == ["one"]
    assert not repository.directory(PLACE).joinpath("two").exists()


def test_a_finished_file_that_has_changed_its_size_is_written_again(repository: Archives) -> None:
    with begin(repository).create("one") as out:
        out.write(b"1")
    repository.directory(PLACE).joinpath("one").write_bytes(b"")

    assert begin(repository).finished == {}


def test_a_file_that_a_tool_wrote_is_adopted(repository: Archives) -> None:
    draft = begin(repository)
    draft.path("disk.qcow2").write_bytes(b"qcow2")
    draft.adopt("disk.qcow2")
    manifest = complete(draft)

    assert manifest.file("disk.qcow2").size_bytes == 5
    assert stat.S_IMODE(repository.path(manifest, "disk.qcow2").stat().st_mode) == 0o600
    assert repository.verify(manifest) == ()


def test_a_complete_backup_is_never_written_over(repository: Archives) -> None:
    store(repository)

    with pytest.raises(ForeignObjectError):
        begin(repository)


def test_the_draft_of_another_execution_is_refused(repository: Archives) -> None:
    begin(repository)

    with pytest.raises(ForeignObjectError, match="e-1"):
        begin(repository, "e-2")


def test_a_directory_of_somebody_else_is_neither_written_nor_removed(repository: Archives) -> None:
    directory = repository.directory(PLACE)
    directory.mkdir(parents=True)
    (directory / "thesis.txt").write_text("mine")

    with pytest.raises(ForeignObjectError):
        begin(repository)
    with pytest.raises(ForeignObjectError):
        repository.delete(PLACE)
    assert (directory / "thesis.txt").read_text() == "mine"


def test_deleting_leaves_nothing_and_may_be_repeated(repository: Archives) -> None:
    store(repository)

    repository.delete(PLACE)
    repository.delete(PLACE)

    assert [path.name for path in repository.root.rglob("*")] == [MARK]


def test_a_draft_is_deleted_like_a_backup(repository: Archives) -> None:
    begin(repository)
    repository.delete(PLACE)

    assert begin(repository, "e-2").finished == {}


def test_a_deletion_that_died_half_way_is_finished(repository: Archives) -> None:
    store(repository)
    directory = repository.directory(PLACE)
    directory.rename(directory.with_name(f".removing-{directory.name}"))

    assert repository.contents().complete == ()
    repository.delete(PLACE)
    assert [path.name for path in repository.root.rglob("*")] == [MARK]


@pytest.mark.parametrize("finished", [True, False])
def test_an_undo_removes_only_what_its_own_execution_made(repository: Archives, finished: bool) -> None:
    if finished:
        store(repository)
    else:
        begin(repository)

    with pytest.raises(ForeignObjectError, match="e-1"):
        repository.delete(PLACE, made_by=ExecutionId("e-2"))
    assert repository.owner(PLACE) == EXECUTION
    repository.delete(PLACE, made_by=EXECUTION)
    assert repository.owner(PLACE) is None


def test_deleting_one_instance_leaves_the_others(repository: Archives) -> None:
    other = BackupKey(deployment=PLACE.deployment, point=PLACE.point, instance=InstanceId("web_1"))
    store(repository)
    kept = store(repository, place=other)

    repository.delete(PLACE)

    assert repository.contents().complete == (kept,)


@pytest.mark.parametrize("offset", [0, 1_000_000, 2_999_999])
@pytest.mark.parametrize("name", ["disk.raw", "tree.tar.gz"])
def test_one_flipped_bit_is_found(repository: Archives, name: str, offset: int) -> None:
    manifest = store(repository)
    path = repository.path(manifest, name)
    flip(path, min(offset, path.stat().st_size - 1))

    assert [damage.path for damage in repository.verify(manifest)] == [str(path)]
    with repository.open(manifest, name) as stored, pytest.raises(DamagedArtifactError):
        stored.check()


def test_a_flipped_bit_anywhere_in_the_manifest_is_found(repository: Archives) -> None:
    store(repository, b"")
    path = repository.directory(PLACE) / "manifest.json"
    good = path.read_bytes()
    for offset in range(len(good) - 1):
        path.write_bytes(good)
        flip(path, offset)
        with pytest.raises(DamagedArtifactError):
            repository.find(PLACE)
    assert len(repository.contents().damaged) == 1


@pytest.mark.parametrize("change", ["missing", "shorter", "longer"])
def test_a_lost_or_cut_or_longer_file_is_found(repository: Archives, change: str) -> None:
    manifest = store(repository)
    path = repository.path(manifest, "disk.raw")
    if change == "missing":
        path.unlink()
    else:
        path.write_bytes(b"x" * (3_000_000 + (1 if change == "longer" else -1)))

    [damage] = repository.verify(manifest)
    assert damage.path == str(path)


def test_a_backup_in_the_wrong_place_is_not_believed(repository: Archives) -> None:
    store(repository)
    moved = BackupKey(deployment=PLACE.deployment, point=BackupName("other"), instance=PLACE.instance)
    repository.directory(moved).parent.mkdir()
    repository.directory(PLACE).rename(repository.directory(moved))

    with pytest.raises(DamagedArtifactError):
        repository.find(moved)


def test_a_manifest_of_a_newer_version_is_refused_without_calling_it_damaged(repository: Archives) -> None:
    store(repository)
    path = repository.directory(PLACE) / "manifest.json"
    rewrite_version(path, 2)

    with pytest.raises(NonRecoverableError, match="version 2"):
        repository.find(PLACE)


def test_all_complete_backups_are_listed_oldest_first(repository: Archives) -> None:
    names = ["b", "a", "c"]
    for age, name in enumerate(names):
        place = BackupKey(deployment=PLACE.deployment, point=BackupName(name), instance=PLACE.instance)
        draft = begin(repository, place=place)
        draft.complete(function="f", consistency=Consistency.CRASH, made_at=float(age))

    assert [manifest.place.point for manifest in repository.contents(PLACE.deployment).complete] == names
    assert repository.contents(DeploymentName("other")).complete == ()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "manifest.json", "x" * 300, "a\nb"])
def test_a_file_name_that_is_a_path_is_refused(repository: Archives, name: str) -> None:
    with pytest.raises(UsageError):
        begin(repository).path(name)


@pytest.mark.parametrize("instance", ["../../etc", "a/b", ".", "..", "ns--web server_1", "Ünï"])
def test_an_instance_of_any_name_stays_inside_the_repository(repository: Archives, instance: str) -> None:
    place = BackupKey(deployment=PLACE.deployment, point=PLACE.point, instance=InstanceId(instance))
    directory = repository.directory(place)

    assert directory.parent == repository.directory(PLACE).parent
    assert store(repository, b"x", place).place == place


@pytest.mark.parametrize("point", ["../x", "a/b", "", "x" * 5000])
def test_a_point_that_is_a_path_is_refused(repository: Archives, point: str) -> None:
    place = BackupKey(deployment=PLACE.deployment, point=BackupName(point), instance=PLACE.instance)
    with pytest.raises(UsageError):
        begin(repository, place=place)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def rewrite_version(path: Path, version: int) -> None:
    body = json.loads(path.read_bytes())
    del body["checksum"], body["code"]
    body["version"] = version
    text = json.dumps(body, sort_keys=True, indent=1).encode()
    path.write_text(json.dumps({**body, "checksum": hashlib.sha256(text).hexdigest()}))


def test_what_is_missing_or_too_short_is_seen_without_reading_it(repository: Archives) -> None:
    manifest = store(repository, b"12345")
    assert repository.absent(manifest) == ()
    directory = repository.directory(PLACE)
    (directory / "disk.raw").write_text("1234")
    (directory / "tree.tar.gz").unlink()
    reasons = {Path(damage.path).name: damage.reason for damage in repository.absent(manifest)}
    assert reasons == {"disk.raw": "it has 4 bytes, 5 were written", "tree.tar.gz": "it is missing"}


@pytest.mark.parametrize("name", ["draft.json", "manifest.json"])
def test_what_a_killed_writer_left_is_nobodys(repository: Archives, name: str) -> None:
    """Killed before its first rename, an execution leaves no more than a file that is known by its name."""
    directory = repository.directory(PLACE)
    directory.mkdir(parents=True)
    (directory / f".{name}.quiesce-new").write_bytes(b"half")

    assert repository.made_before(PLACE, EXECUTION) is None
    manifest = store(repository)
    assert repository.find(PLACE) == manifest
    assert not list(directory.glob(".*"))


def test_a_directory_in_which_a_writer_was_killed_can_be_deleted(repository: Archives) -> None:
    """It is ours, though there is neither a draft nor a manifest."""
    directory = repository.directory(PLACE)
    directory.mkdir(parents=True)
    (directory / ".draft.json.quiesce-new").write_bytes(b"half")
    repository.delete(PLACE)
    assert not directory.exists()


def test_below_a_link_that_leads_nowhere_there_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NonRecoverableError, match="Not a directory"):
        Archives(tmp_path / "link" / "repository", FixedKeyring()).mark()


def test_a_stored_file_that_was_made_endless_is_not_read(repository: Archives) -> None:
    """As many zeros as a file system allows: reading them all would take weeks."""
    manifest = store(repository)
    path = repository.path(manifest, "disk.raw")
    os.truncate(path, 8 << 40)
    (damage,) = repository.verify(manifest)
    assert "were written" in damage.reason
    with pytest.raises(DamagedArtifactError, match="were written"):
        repository.open(manifest, "disk.raw")


def test_a_stored_file_that_unpacks_to_more_than_was_written_is_given_up(repository: Archives) -> None:
    manifest = store(repository, b"x" * (8 << 20))
    with (
        repository.open(manifest, "tree.tar.gz", at_most=1 << 20) as file,
        pytest.raises(DamagedArtifactError, match="more than was written"),
    ):
        file.read()
    with repository.open(manifest, "tree.tar.gz", at_most=8 << 20) as file:
        assert len(file.read()) == 8 << 20


def test_a_repository_is_known_again_wherever_it_is_mounted(tmp_path: Path) -> None:
    one, other = (Archives(tmp_path / name, FixedKeyring()) for name in ("one", "other"))
    for each in (one, other):
        each.mark()
    identity = one.identity()
    assert identity
    assert identity != other.identity()
    assert one.why_away(identity) == ""
    assert "another repository" in other.why_away(identity)
    one.mark()
    assert one.identity() == identity
    one.root.rename(tmp_path / "elsewhere")
    assert Archives(tmp_path / "elsewhere", FixedKeyring()).why_away(identity) == ""


def test_a_mark_that_was_made_by_hand_stands_for_any_repository(tmp_path: Path) -> None:
    (tmp_path / MARK).touch()
    repository = Archives(tmp_path, FixedKeyring())
    repository.mark()
    assert repository.identity() == ""
    assert repository.why_away("0" * 32) == ""
