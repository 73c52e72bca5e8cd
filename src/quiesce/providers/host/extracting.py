"""What a restore point holds, written below a directory that the operator chose; nothing else is touched."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from quiesce.errors import ForeignObjectError, NonRecoverableError, ProviderError, ResourceNotFoundError
from quiesce.files.descriptors import Identity, checked_name
from quiesce.files.durable import make_private_directory
from quiesce.files.exchange import Named, move
from quiesce.files.identities import identities_above, identity_of
from quiesce.files.trust import Declared, open_declared
from quiesce.files.writing import make_directory
from quiesce.providers.host.entries import exists, held, read_json, remove, write_json
from quiesce.providers.host.former_states import CONTENT
from quiesce.providers.host.job import HostJob

_BUILDING: Final = b".quiesce-extract-"


def extract(job: HostJob, notes: Path, build: Callable[[int], None]) -> str:
    """Let *build* make `CONTENT` in an open directory, and give it its name below the target at one instant.

    What this very execution has extracted before stays as it is; *notes* is where that is remembered.

    Raises:
        ForeignObjectError: when something else has the name already; it was not touched.
    """
    if reason := _why_not_there(job, _directory(job)):
        raise ForeignObjectError(f"{reason}; nothing was written")
    with open_declared(_directory(job)) as above:
        with contextlib.suppress(FileExistsError):
            os.mkdir(above.name, 0o777, dir_fd=above.parent)
        target = above.open()
    name = checked_name(os.fsencode(job.call.instance))
    try:
        if not _was_extracted(job, notes, target, name):
            _extract(job, notes, target, name, build)
    finally:
        os.close(target)
    return f"{job.call.instance} is in {_directory(job) / job.call.instance}"


def why_not_extracted(job: HostJob) -> str:
    """Return what is in the way; empty: nothing."""
    directory = _directory(job)
    if reason := _why_not_there(job, directory):
        return reason
    try:
        with open_declared(directory) as above:
            return _what_is_in_the_way(above, directory, job.call.instance)
    except ResourceNotFoundError:
        return f"there is no directory {directory.parent}"


def _why_not_there(job: HostJob, directory: Path) -> str:
    """Return what of the instance *directory* is, or lies in, by whatever name; empty: nothing."""
    around = identities_above(directory)
    for what, place in _places_of(job).items():
        if identity_of(place) in around:
            return f"{directory} is {what} {place}, or below it"
    return ""


def _places_of(job: HostJob) -> Mapping[str, Path]:
    """Return what is there of the instance itself."""
    places = {"the node's own path": job.path}
    with contextlib.suppress(ProviderError):
        places["the directory of its snapshots"] = job.snapshots.directory
    return places


def _what_is_in_the_way(above: Declared, directory: Path, instance: str) -> str:
    if not exists(above.parent, above.name):
        return ""
    try:
        target = above.open()
    except NotADirectoryError:
        return f"{directory} is no directory"
    try:
        return f"{directory / instance} is there already" if exists(target, os.fsencode(instance)) else ""
    finally:
        os.close(target)


def _directory(job: HostJob) -> Path:
    target = job.call.parameters.target
    if not target:
        raise NonRecoverableError("it was not said below which directory it is to be extracted")
    return Path(target)


def _extract(job: HostJob, notes: Path, target: int, name: bytes, build: Callable[[int], None]) -> None:
    building = _BUILDING + name
    _remove_abandoned(target, building)
    place = make_directory(target, building)
    try:
        build(place)
        made = Named.now(place, CONTENT)
        make_private_directory(notes)
        with _opened(notes) as kept:
            write_json(kept, _note_of(job), {"execution": job.call.execution, "number": made.identity.inode})
        move(made, target, name)
    finally:
        ours = Identity.of_descriptor(place)
        os.close(place)
        remove(target, building, ours)


def _remove_abandoned(target: int, building: bytes) -> None:
    """Remove what a killed one was building, when it is ours."""
    try:
        status = os.stat(building, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        return
    others = status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or others:
        raise ForeignObjectError(
            f"{os.fsdecode(building)} is not what quiesce made there; it was not touched"
        )
    remove(target, building, Identity.of(status))


def _was_extracted(job: HostJob, notes: Path, target: int, name: bytes) -> bool:
    try:
        with _opened(notes) as kept:
            note = read_json(kept, _note_of(job))
        there = Identity.of_name(target, name)
    except (FileNotFoundError, ResourceNotFoundError):
        return False
    return note == {"execution": job.call.execution, "number": there.inode}


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    with open_declared(directory) as declared, held(declared.parent, declared.name) as descriptor:
        yield descriptor


def _note_of(job: HostJob) -> bytes:
    return os.fsencode(f"{job.key}.json")
