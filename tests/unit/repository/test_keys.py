"""Who can open a repository, and who cannot."""

from __future__ import annotations

import pytest

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    UnreachableError,
    UsageError,
    WrongKeyError,
)
from quiesce.model.stored_object import ObjectName
from quiesce.repository import FileKey, Passphrase, Repository
from quiesce.storage import MemoryStorage

from .conftest import Scene

PASSPHRASE = Passphrase("correct horse", work=16)


def test_an_empty_place_is_no_repository() -> None:
    """A repository that is not mounted is told from an empty one."""
    with pytest.raises(UnreachableError, match="no repository"):
        Repository.open(MemoryStorage(), [FileKey.new()])


def test_a_second_repository_is_not_made_over_the_first(scene: Scene) -> None:
    """Whatever is there is left alone."""
    with pytest.raises(ForeignObjectError, match="already"):
        Repository.create(scene.storage, FileKey.new())


def test_another_key_opens_nothing(scene: Scene) -> None:
    """Neither a key file of somebody else, nor a passphrase."""
    with pytest.raises(WrongKeyError):
        Repository.open(scene.storage, [FileKey.new(), PASSPHRASE])


def test_a_passphrase_added_later_opens_the_same_points(scene: Scene) -> None:
    """Nothing is written anew for it."""
    key = scene.save("one", b"content")
    packs = scene.packs()
    scene.repository.add_key(PASSPHRASE, label="the safe")
    opened = Repository.open(scene.storage, [PASSPHRASE])
    assert b"".join(opened.reader(key).read("0")) == b"content"
    assert scene.packs() == packs
    known = sorted((key.kind, key.label) for key in opened.credentials())
    assert known == [("file", ""), ("passphrase", "the safe")]


def test_a_removed_key_opens_nothing_any_more_and_the_last_one_stays(scene: Scene) -> None:
    """A repository cannot be locked for good by mistake."""
    added = scene.repository.add_key(PASSPHRASE)
    (first,) = [key.id for key in scene.repository.credentials() if key.id != added]
    scene.repository.remove_key(first)
    with pytest.raises(WrongKeyError):
        Repository.open(scene.storage, [scene.key])
    with pytest.raises(UsageError, match="the last key"):
        scene.repository.remove_key(added)
    with pytest.raises(UsageError, match="none of"):
        scene.repository.remove_key("nonsense")


def test_a_key_file_reads_as_it_was_written() -> None:
    """And nothing else is taken for one."""
    key = FileKey.new()
    assert FileKey.of_text(key.as_text()) == key
    for text in ("", key.as_text()[:-5], "quiesce-key-1 " + "z" * 64):
        with pytest.raises(UsageError):
            FileKey.of_text(text)


def test_no_secret_is_shown() -> None:
    """Not in a traceback either."""
    key = FileKey.new()
    assert key.secret.hex() not in repr(key)
    assert "horse" not in repr(PASSPHRASE)


def test_a_mark_that_was_changed_without_the_key_is_refused(scene: Scene) -> None:
    """Its grace cannot be taken away by who can write to the storage."""
    name = ObjectName("config")
    scene.storage.put(name, scene.storage.get(name).replace(b"1000.0", b"0.0"))
    with pytest.raises(DamagedArtifactError, match="without its key"):
        Repository.open(scene.storage, [scene.key])


def test_a_key_object_cannot_ask_for_endless_work(scene: Scene) -> None:
    """What anybody can write is bounded before it is trusted."""
    scene.repository.add_key(PASSPHRASE)
    for stored in list(scene.storage.list("keys")):
        data = scene.storage.get(stored.name).replace(b'"work": 16', b'"work": 1099511627776')
        scene.storage.put(stored.name, data)
    with pytest.raises(WrongKeyError):
        Repository.open(scene.storage, [PASSPHRASE])


def test_what_nothing_has_proven_yet_is_bounded(scene: Scene) -> None:
    """Mark and keys are read before a key fits: none is large, or costs a gigabyte of memory to try."""
    (name,) = (stored.name for stored in scene.storage.list("keys"))
    whole = scene.storage.get(name)
    scene.storage.put(name, whole.replace(b'"work": 1,', b'"work": 1048576,'))
    with pytest.raises(WrongKeyError):
        Repository.open(scene.storage, [scene.key])
    scene.storage.put(name, whole + b" " * 70_000)
    with pytest.raises(WrongKeyError):
        Repository.open(scene.storage, [scene.key])
    scene.storage.put(name, whole)
    Repository.open(scene.storage, [scene.key])
    scene.storage.put(ObjectName("config"), scene.storage.get(ObjectName("config")) + b" " * 70_000)
    with pytest.raises(DamagedArtifactError, match="larger"):
        Repository.open(scene.storage, [scene.key])


def test_thousands_of_keys_of_others_are_not_tried(scene: Scene) -> None:
    """Each of them could cost the work of a passphrase."""
    (name,) = (stored.name for stored in scene.storage.list("keys"))
    tried = []
    for number in range(200):
        scene.storage.put(ObjectName(f"{name[:-16]}{number:016x}"), scene.storage.get(name))

    class Counting(FileKey):
        def key(self, salt: bytes, work: int) -> bytes:
            tried.append(1)
            return b"x" * 32

    with pytest.raises(WrongKeyError):
        Repository.open(scene.storage, [Counting(b"k" * 32)])
    assert len(tried) == 64
