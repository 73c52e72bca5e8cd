"""Backups in a repository: what is complete, what is damaged, what is not ours."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.repository_objects import packs, points, spoil
from tests.unit.fixed_keyring import a_home

from quiesce.backups import BackupKey, Backups, Draft, Manifest
from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    ResourceNotFoundError,
    UnreachableError,
    UsageError,
    WrongKeyError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId

PLACE = BackupKey(
    deployment=DeploymentName("shop"), point=BackupName("nightly"), instance=InstanceId("db_a1b2c3")
)
EXECUTION = ExecutionId("e-1")
DATA = os.urandom(3_000_000)


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return at(tmp_path)


def at(directory: Path, letter: bytes = b"k") -> Backups:
    return Backups(str(directory / "repository"), a_home(directory / "drafts", letter))


def begin(backups: Backups, execution: str = EXECUTION, place: BackupKey = PLACE) -> Draft:
    return backups.begin(place, execution=ExecutionId(execution), provider="host")


def complete(draft: Draft, **content: str) -> Manifest:
    return draft.complete(
        function="quiesce.host.snapshot",
        consistency=Consistency.CRASH,
        cut_at=1.5,
        made_at=2.5,
        content=dict(content),
        note="as it was",
    )


def store(backups: Backups, data: bytes = DATA, place: BackupKey = PLACE) -> Manifest:
    draft = begin(backups, place=place)
    with draft.create("dump") as out:
        out.write(data)
    return complete(draft, kind="directory")


def test_a_complete_backup_is_found_as_it_was_written(backups: Backups) -> None:
    manifest = store(backups)

    assert backups.find(PLACE) == manifest
    assert manifest.content["kind"] == "directory"
    assert [file["path"] for file in manifest.content["files"]] == ["dump"]  # type: ignore[union-attr,index,call-overload]
    assert manifest.content["repository"] == backups.identity()
    assert backups.verify(manifest) == ()
    with backups.open(manifest, "dump") as stored:
        assert stored.read(1000) == DATA[:1000]
        assert stored.read() == DATA[1000:]


def test_what_two_backups_share_is_stored_once(backups: Backups, tmp_path: Path) -> None:
    store(backups)
    before = sum(path.stat().st_size for path in packs(tmp_path / "repository"))
    store(backups, DATA + b"more", replace(PLACE, point=BackupName("again")))
    assert sum(path.stat().st_size for path in packs(tmp_path / "repository")) < before + 1_000_000


def test_a_draft_is_no_backup(backups: Backups) -> None:
    with begin(backups).create("dump") as out:
        out.write(b"half")

    assert backups.find(PLACE) is None
    assert backups.of_instance(PLACE.deployment, PLACE.instance) == []
    with pytest.raises(ResourceNotFoundError):
        backups.manifest(PLACE)


def test_the_same_execution_goes_on_where_it_was(backups: Backups) -> None:
    with begin(backups).create("one") as out:
        out.write(b"1")
    again = begin(backups)
    with suppress(KeyboardInterrupt), again.create("two") as out:
        out.write(b"2")
        raise KeyboardInterrupt

    resumed = begin(backups)
    assert set(resumed.finished) == {"one"}
    assert set(complete(resumed).items) == {"one"}


def test_what_was_stored_and_is_gone_is_stored_again(backups: Backups, tmp_path: Path) -> None:
    with begin(backups).create("one") as out:
        out.write(DATA)
    for path in packs(tmp_path / "repository"):
        path.unlink()
    assert set(begin(backups).finished) == set()


def test_an_item_that_is_written_again_takes_the_place_of_the_first(backups: Backups) -> None:
    draft = begin(backups)
    for content in (b"first", b"second"):
        with draft.create("one") as out:
            out.write(content)
    manifest = complete(draft)
    with backups.open(manifest, "one") as stored:
        assert stored.read() == b"second"


def test_what_a_program_has_written_becomes_an_item(backups: Backups) -> None:
    draft = begin(backups)
    draft.path("tool.out").write_bytes(b"made by a tool")
    draft.adopt("tool.out")
    assert not draft.path("tool.out").exists()
    assert draft.read("tool.out") == b"made by a tool"
    manifest = complete(draft)
    assert manifest.item("tool.out").size_bytes == len(b"made by a tool")
    assert not draft.directory.exists()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a..b", "x" * 201])
def test_a_name_that_could_lead_elsewhere_is_refused(backups: Backups, name: str) -> None:
    with pytest.raises(UsageError):
        begin(backups).path(name)


def test_another_execution_neither_writes_to_it_nor_takes_it_for_its_own(backups: Backups) -> None:
    with begin(backups).create("one") as out:
        out.write(b"1")
    with pytest.raises(ForeignObjectError, match="e-1"):
        begin(backups, "e-2")
    complete(begin(backups))
    for refused in (lambda: begin(backups, "e-2"), lambda: backups.made_before(PLACE, ExecutionId("e-2"))):
        with pytest.raises(ForeignObjectError):
            refused()
    made = backups.made_before(PLACE, EXECUTION)
    assert made is not None
    assert made.execution == EXECUTION == backups.owner(PLACE)


def test_a_changed_byte_is_found(backups: Backups, tmp_path: Path) -> None:
    manifest = store(backups)
    spoil(packs(tmp_path / "repository"))
    assert len(backups.verify(manifest)) == 1
    with pytest.raises(DamagedArtifactError), backups.open(manifest, "dump") as stored:
        stored.check()


def test_what_was_found_damaged_is_stored_anew_and_heals_what_shares_it(
    backups: Backups, tmp_path: Path
) -> None:
    manifest = store(backups)
    spoil(packs(tmp_path / "repository"))
    assert backups.verify(manifest) != ()
    again = store(backups, place=replace(PLACE, point=BackupName("again")))
    assert backups.verify(again) == ()
    assert backups.verify(manifest) == (), "both need the same"


def test_a_changed_point_is_damage_and_no_absence(backups: Backups, tmp_path: Path) -> None:
    store(backups)
    spoil(points(tmp_path / "repository"))
    with pytest.raises(DamagedArtifactError):
        backups.find(PLACE)


def test_a_backup_that_the_catalog_knows_otherwise_is_damage(backups: Backups) -> None:
    manifest = store(backups)
    assert backups.manifest(PLACE, manifest.content) == manifest
    with pytest.raises(DamagedArtifactError):
        backups.manifest(PLACE, {**manifest.content, "kind": "other"})


def test_another_repository_in_its_place_is_told_from_damage(backups: Backups, tmp_path: Path) -> None:
    manifest = store(backups)
    (tmp_path / "repository").rename(tmp_path / "mine")
    with pytest.raises(UnreachableError):
        backups.manifest(PLACE, manifest.content)
    store(backups, b"another", replace(PLACE, instance=InstanceId("web_1")))
    with pytest.raises(UnreachableError, match="another repository"):
        backups.manifest(PLACE, manifest.content)
    assert "another repository" in backups.why_away(str(manifest.content["repository"]))


def test_nobody_without_the_key_reads_it(backups: Backups, tmp_path: Path) -> None:
    store(backups)
    other = at(tmp_path, b"o")
    with pytest.raises(WrongKeyError):
        other.find(PLACE)
    assert other.identity() == backups.identity()


def test_nothing_is_made_where_something_else_is(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "thesis").write_text("theirs")
    with pytest.raises(ForeignObjectError):
        begin(at(tmp_path))
    assert [path.name for path in (tmp_path / "repository").iterdir()] == ["thesis"]


def test_many_that_begin_at_once_make_one_repository(tmp_path: Path) -> None:
    def make(number: int) -> str:
        place = replace(PLACE, instance=InstanceId(f"db_{number}"))
        return str(store(at(tmp_path), b"%d" % number, place).content["repository"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1


def test_removing_twice_is_fine_and_an_undo_leaves_what_others_made(backups: Backups) -> None:
    store(backups)
    with pytest.raises(ForeignObjectError):
        backups.delete(PLACE, made_by=ExecutionId("e-2"))
    assert backups.find(PLACE) is not None
    for _ in range(2):
        backups.delete(PLACE)
        assert backups.find(PLACE) is None


def test_removing_a_draft_forgets_it(backups: Backups) -> None:
    with begin(backups).create("one") as out:
        out.write(b"1")
    backups.delete(PLACE, made_by=ExecutionId("e-2"))
    assert backups.owner(PLACE) == EXECUTION
    backups.delete(PLACE, made_by=EXECUTION)
    assert backups.owner(PLACE) is None
    assert begin(backups, "e-2").finished == {}


def test_nothing_is_where_no_repository_is(backups: Backups) -> None:
    backups.delete(PLACE)
    assert backups.find(PLACE) is None
    assert backups.of_instance(PLACE.deployment, PLACE.instance) == []
    assert "may not be mounted" in backups.why_away() or "is not there" in backups.why_away()


def test_backups_of_an_instance_are_listed_from_the_oldest_on(backups: Backups) -> None:
    for number in (2, 0, 1):
        draft = begin(backups, place=replace(PLACE, point=BackupName(f"p{number}")))
        with draft.create("one") as out:
            out.write(b"1")
        draft.complete(function="f", consistency=Consistency.CRASH, made_at=float(number))
    store(backups, place=replace(PLACE, instance=InstanceId("web_1")))
    found = backups.of_instance(PLACE.deployment, PLACE.instance)
    assert [manifest.place.point for manifest in found] == ["p0", "p1", "p2"]


def test_of_a_disk_only_what_changed_is_read(backups: Backups) -> None:
    mib, size = 1 << 20, 8 << 20
    first = bytearray(size)
    first[mib : 2 * mib] = os.urandom(mib)
    reads: list[tuple[int, int]] = []

    def reading(content: bytes) -> object:
        def read(offset: int, length: int) -> bytes:
            reads.append((offset, length))
            return bytes(content[offset : offset + length])

        return read

    draft = begin(backups)
    draft.store_disk("vda", size, reading(first), data=[(mib, mib)])  # type: ignore[arg-type]
    before = complete(draft)
    second = bytearray(first)
    second[5 * mib : 5 * mib + 4096] = os.urandom(4096)
    reads.clear()
    draft = begin(backups, place=replace(PLACE, point=BackupName("next")))
    draft.store_disk("vda", size, reading(second), data=[(5 * mib, 4096)], previous=before.item("vda"))  # type: ignore[arg-type]
    after = complete(draft)
    assert reads == [(5 * mib, mib)]
    backups.delete(PLACE)
    with backups.open(after, "vda") as stored:
        assert stored.read() == bytes(second)
