"""A repository in a directory that others can change: what they put into our way leads nowhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.unit.fixed_keyring import FixedKeyring

from quiesce.archives import Archives, Draft
from quiesce.errors import ForeignObjectError, NonRecoverableError, ResourceNotFoundError, UntrustedPathError

from .test_archives import PLACE, begin, complete, store

SOMEBODY_ELSE = 54321


@pytest.fixture
def repository(tmp_path: Path) -> Archives:
    return Archives(tmp_path / "repository", FixedKeyring())


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Somewhere else, with files that nobody may touch."""
    directory = tmp_path / "victim"
    (directory / "nightly" / "db_a1b2c3").mkdir(parents=True)
    for name in ("manifest.json", "keys"):
        (directory / "nightly" / "db_a1b2c3" / name).write_text("precious")
    return directory


def content(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def put_link(repository: Archives, victim: Path, names: int) -> None:
    """Have a link in the place of one of the directories that lead to the backup."""
    directory = repository.root.joinpath(*PLACE.components()[:names])
    target = victim.joinpath(*PLACE.components()[1:names])
    directory.parent.mkdir(parents=True, exist_ok=True)
    if directory.exists():
        directory.rename(directory.with_name("away"))
    directory.symlink_to(target)


@pytest.mark.parametrize("names", [1, 2, 3])
def test_no_backup_is_begun_behind_a_link(repository: Archives, victim: Path, names: int) -> None:
    before = content(victim)
    put_link(repository, victim, names)
    with pytest.raises(UntrustedPathError, match="is a link"):
        begin(repository)
    assert content(victim) == before


@pytest.mark.parametrize("names", [1, 2, 3])
def test_nothing_is_removed_behind_a_link(repository: Archives, victim: Path, names: int) -> None:
    store(repository)
    before = content(victim)
    put_link(repository, victim, names)
    with pytest.raises((UntrustedPathError, ForeignObjectError)):
        repository.delete(PLACE)
    assert content(victim) == before


def test_what_is_written_stays_where_it_was_begun(repository: Archives, victim: Path) -> None:
    """The strangers in a directory that had taken the draft's place were removed: all files of /etc, say."""
    draft = begin(repository)
    with draft.create("disk.raw") as out:
        out.write(b"first")
    before = content(victim)
    put_link(repository, victim, 1)
    with draft.create("tree.tar") as out:
        out.write(b"second")
    manifest = complete(draft)
    assert content(victim) == before
    (repository.root / "shop").unlink()
    (repository.root / "away").rename(repository.root / "shop")
    assert repository.find(PLACE) == manifest
    assert repository.verify(manifest) == ()


def forge(repository: Archives, draft: Draft) -> None:
    """Write what an interrupted backup would have left, with a file of one's own, as finished."""
    path = draft.directory / "draft.json"
    body = json.loads(path.read_text())
    (draft.directory / "disk.raw").write_bytes(b"forged")
    stored = {"path": "disk.raw", "size_bytes": 6, "sha256": "0" * 64, "compression": "none"}
    path.write_text(json.dumps({**body, "files": [stored]}))


def test_a_draft_that_somebody_else_has_changed_is_not_taken_up(repository: Archives) -> None:
    """Its file was signed as if we had written it."""
    forge(repository, begin(repository))
    with pytest.raises(ForeignObjectError, match="did not write"):
        begin(repository)


def test_a_draft_of_another_place_is_not_taken_up(repository: Archives, tmp_path: Path) -> None:
    other = Archives(tmp_path / "other", FixedKeyring())
    draft = begin(other)
    draft.directory.parent.parent.rename(repository.root.with_name("moved"))
    begin(repository)
    body = (tmp_path / "moved" / "nightly" / "db_a1b2c3" / "draft.json").read_text()
    (repository.directory(PLACE) / "draft.json").write_text(body.replace('"nightly"', '"weekly"'))
    with pytest.raises(ForeignObjectError, match="did not write"):
        begin(repository)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a link to another user")
def test_a_root_that_is_somebody_elses_link_is_not_used(repository: Archives, victim: Path) -> None:
    repository.root.symlink_to(victim)
    os.lchown(repository.root, SOMEBODY_ELSE, SOMEBODY_ELSE)
    before = content(victim)
    with pytest.raises(UntrustedPathError, match="is a link"):
        begin(repository)
    with pytest.raises(UntrustedPathError, match="is a link"):
        repository.delete(PLACE)
    assert content(victim) == before


def test_a_root_of_ours_may_be_a_link(repository: Archives, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    repository.root.symlink_to(tmp_path / "disk")
    manifest = store(repository)
    assert repository.verify(manifest) == ()
    repository.delete(PLACE)
    with pytest.raises(ResourceNotFoundError):
        repository.manifest(PLACE)


@pytest.mark.parametrize("change", [{"execution": None}, {"files": [{"path": "x"}]}, {"files": 3}])
def test_a_draft_without_what_belongs_in_it_is_damage_and_no_bug(
    repository: Archives, change: dict[str, object]
) -> None:
    draft = begin(repository)
    path = draft.directory / "draft.json"
    body = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in body.items() if value is not None}))
    for attempt in (lambda: repository.owner(PLACE), lambda: begin(repository)):
        with pytest.raises(NonRecoverableError, match="is damaged"):
            attempt()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a directory to another user")
def test_a_directory_that_somebody_else_has_made_beforehand_is_not_written_to(repository: Archives) -> None:
    """They could replace what a program has written there, before it was signed."""
    directory = repository.directory(PLACE)
    directory.mkdir(parents=True)
    os.chown(directory, SOMEBODY_ELSE, SOMEBODY_ELSE)
    with pytest.raises(ForeignObjectError, match="made by somebody else"):
        begin(repository)
    assert content(directory) == []


def test_a_directory_is_ours_where_all_that_we_make_bears_another_number(
    repository: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of files may not let root be root."""
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY_ELSE)
    begin(repository)
