"""One instance's copy in a repository: every method may be called again after a crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quiesce.backups import Backups
from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    OperationTimeoutError,
    RecoverableError,
    ResourceNotFoundError,
    UnreachableError,
)
from quiesce.model.consistency import Consistency
from quiesce.provider_kit.job import Job, RuntimeState
from quiesce.provider_kit.saving import Saving, proof_of, watched
from quiesce.testing.contexts import RecordingContext
from tests.repository_objects import packs, points, spoil
from tests.unit.fixed_keyring import a_home
from tests.unit.provider_kit.calls import a_call


def saving(root: Path, **changes: object) -> Saving:
    backups = Backups(str(root / "repository"), a_home(root / "drafts"))
    return Saving(Job(call=a_call(**changes), context=RecordingContext()), backups, "acme")


def store(root: Path, content: bytes = b"data") -> None:
    ours = saving(root)
    draft = ours.begin()
    with draft.create("disk") as out:
        out.write(content)
    ours.complete(draft, {"name": "vm"}, consistency=Consistency.CRASH)


def test_a_completed_copy_is_found_by_its_execution_and_foreign_to_others(tmp_path: Path) -> None:
    assert saving(tmp_path).made_before() is None
    store(tmp_path)
    made = saving(tmp_path).made_before()
    assert made is not None
    assert made.content["name"] == "vm"
    with pytest.raises(ForeignObjectError):
        saving(tmp_path, execution="backup-2").made_before()


def test_what_was_begun_is_taken_up_by_its_execution(tmp_path: Path) -> None:
    draft = saving(tmp_path).begin()
    with draft.create("disk") as out:
        out.write(b"data")
    assert list(saving(tmp_path).begin().finished) == ["disk"]
    with pytest.raises(ForeignObjectError):
        saving(tmp_path, execution="backup-2").begin()


def test_a_changed_byte_is_damage_and_nothing_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        saving(tmp_path).checked()
    saving(tmp_path).begin()
    with pytest.raises(ResourceNotFoundError):
        saving(tmp_path).checked()
    assert not saving(tmp_path).verify().passed
    store(tmp_path)
    assert saving(tmp_path).verify().passed
    spoil(packs(tmp_path / "repository"))
    with pytest.raises(DamagedArtifactError):
        saving(tmp_path).checked()
    assert "is lost" in saving(tmp_path).verify().detail


def test_an_undo_leaves_what_another_execution_made(tmp_path: Path) -> None:
    store(tmp_path)
    note = saving(tmp_path, execution="backup-2", undo=True).remove()
    assert "left alone" in note
    assert saving(tmp_path).verify().passed
    assert saving(tmp_path, execution="remove-1").remove() == ""
    assert saving(tmp_path, execution="remove-1").remove() == ""
    assert not points(tmp_path / "repository")


def test_work_stops_when_nobody_waits_or_the_time_is_over() -> None:
    context = RecordingContext()
    advance = watched(context, 10)
    advance(4)
    assert context.copied_bytes == 4
    context.give_up()
    with pytest.raises(RecoverableError):
        advance(4)
    with pytest.raises(OperationTimeoutError):
        watched(RecordingContext(timeout_s=0.0))(1)


def test_no_more_is_reported_than_there_is() -> None:
    context = RecordingContext()
    advance = watched(context, 10)
    advance(8)
    advance(8)
    assert context.copied_bytes == 10


def test_a_check_is_over_at_all_of_it_though_what_is_alike_was_read_once(tmp_path: Path) -> None:
    ours = saving(tmp_path)
    draft = ours.begin()
    for name in ("disk", "twin"):
        with draft.create(name) as out:
            out.write(bytes(1 << 20))
    ours.complete(draft, {"name": "vm"}, consistency=Consistency.CRASH)
    context = RecordingContext()
    Saving(Job(call=a_call(), context=context), ours.repository, "acme").checked()
    assert context.copied_bytes == 2 << 20


def test_many_threads_count_what_they_move_together() -> None:
    context = RecordingContext()
    advance = watched(context)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [advance(1) for _ in range(1000)], range(8)))
    assert context.copied_bytes == 8000


def test_runtime_state_is_kept_at_once_and_none_removes() -> None:
    context = RecordingContext()
    state = RuntimeState(Job(call=a_call(runtime_properties={"id": "1", "old": 2}), context=context))
    state.write(old=None, new=[1])
    assert context.runtime_properties == {"id": "1", "new": [1]}
    assert (state.read("id"), state.read("old")) == ("1", None)


@pytest.mark.parametrize("damage", [DamagedArtifactError("torn"), ResourceNotFoundError("torn")])
def test_a_check_that_finds_damage_has_failed(damage: Exception) -> None:
    def check() -> str:
        raise damage

    found = proof_of("presence", check)
    assert (found.kind, found.passed, found.detail) == ("presence", False, "torn")


def test_a_check_that_finds_nothing_wrong_has_passed() -> None:
    found = proof_of("presence", lambda: "all there")
    assert (found.passed, found.detail) == (True, "all there")


def test_a_check_that_finds_nothing_out_is_no_proof() -> None:
    def check() -> str:
        raise RecoverableError("nobody answers")

    with pytest.raises(RecoverableError):
        proof_of("presence", check)
