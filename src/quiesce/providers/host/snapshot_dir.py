"""What is ours beside a node's data: its cuts, what is being restored, and what was replaced.

    .quiesce-<name>/<point>/content     a cut, with ``mark.json`` telling who made it and whether it is whole
    .quiesce-<name>/.undo/content       what the last restore replaced (see `former_states`)

It is used only where nobody else can have made or replaced it, and everything in it is reached by open
directories. Where the cuts are kept on another file system, what is restored is built beside the data all the
same, because only there trees can be exchanged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    InUseError,
    NonRecoverableError,
    ResourceNotFoundError,
    UnreachableError,
    UntrustedPathError,
)
from quiesce.files.descriptors import Identity, open_directory
from quiesce.files.durable import is_unfinished, make_private_directory
from quiesce.files.exchange import Named, move
from quiesce.files.mounts import mounted_over, read_mounts, require_no_mounts_below
from quiesce.files.system_calls import mount_id, sync_file_system
from quiesce.files.trust import Declared, open_declared, why_directory_not_trusted, why_entries_not_trusted
from quiesce.files.usage import User
from quiesce.files.writing import make_directory
from quiesce.model.call import Call
from quiesce.model.former_state import Side
from quiesce.model.ids import ExecutionId, Json
from quiesce.providers.host.entries import exists, held, read_json, remove, shown_path, write_json
from quiesce.providers.host.former_states import CONTENT, INCOMING, MARK, FormerMark, FormerStates
from quiesce.providers.host.in_use import shown, users_of

FORMAT: Final = "quiesce-cut"
RAW: Final = b"raw"
#: of a snapshot's artifact: where the file system was mounted on which it lies
MOUNTED_AT: Final = "mounted_at"
_STAGE: Final = b".stage.json"
_REMOVING: Final = ".removing-"
#: of a directory that was missing above what is restored
_PARENT_MODE: Final = 0o755
ELSEWHERE: Final = "Set the node's snapshot_dir to a directory that nobody else can change."


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCut:
    """One cut in a snapshot directory."""

    directory: Path
    execution: ExecutionId
    #: everything that it consists of is there, and once `durable` will be after a power cut
    whole: bool = False
    durable: bool = False
    facts: Mapping[str, Json] = field(default_factory=dict)

    @property
    def content(self) -> Path:
        """Where the tree or file itself is."""
        return self.directory / os.fsdecode(CONTENT)


class SnapshotDirectory:
    """The cuts of one path, and the way back to them."""

    def __init__(
        self,
        path: Path,
        directory: Path | None = None,
        own_processes: Callable[[], Collection[int]] = frozenset,
        schema: Callable[[], int | None] = lambda: None,
    ) -> None:
        """*own_processes* names those of quiesce, which may use what is replaced or removed.

        *schema* tells the number of the database's schema, where the path is one's.
        """
        self._schema = schema
        self.path = path
        self._given = directory
        self._own_processes = own_processes
        #: what was kept although it should have been removed
        self._notes: list[str] = []

    @property
    def directory(self) -> Path:
        """Where the cuts are: beside what the path stands for, unless somewhere else was given."""
        if self._given is not None:
            return self._given
        try:
            with open_declared(self.path) as declared:
                path = Path(os.fsdecode(declared.path))
        except ResourceNotFoundError:
            path = self.path
        return path.with_name(f".quiesce-{path.name}")

    def why_not_used(self) -> str:
        """Return why cuts are not kept there: somebody else could have made or replaced them."""
        try:
            with open_declared(self.directory) as declared:
                reason = why_entries_not_trusted(declared.parent)
            with contextlib.suppress(FileNotFoundError), self._opened():
                pass
        except (UntrustedPathError, NotADirectoryError) as error:
            return str(error)
        except ResourceNotFoundError:
            return ""
        return reason

    def begin(self, call: Call, *, keep: Collection[bytes] = ()) -> StoredCut:
        """Return the cut of the call's restore point, whole when it was made before, else empty.

        Of one that is not whole, what is named by *keep* stays.

        Raises:
            ForeignObjectError: when another execution, or somebody else, made what is there.
            UntrustedPathError: when somebody else could have made or replaced the directory itself.
        """
        name = _point(call)
        with self._opened(make=True) as state, _made(state, name) as directory:
            cut = self._read(directory, name)
            where = self.directory / os.fsdecode(name)
            if cut is None and _holds_anything(directory):
                raise ForeignObjectError(f"quiesce did not make {where}; it was not touched")
            if cut is not None and cut.execution != call.execution:
                raise ForeignObjectError(f"{where} was made by execution {cut.execution}")
            if cut is None:
                cut = StoredCut(directory=where, execution=call.execution)
                self._write(directory, cut)
            if not cut.whole:
                for left in (CONTENT, RAW):
                    if left not in keep:
                        remove(directory, left)
            return cut

    @contextlib.contextmanager
    def opened(self, cut: StoredCut) -> Iterator[int]:
        """Hold the directory of *cut* open."""
        with self._opened() as state, held(state, os.fsencode(cut.directory.name)) as directory:
            yield directory

    def find(self, call: Call) -> StoredCut:
        """Return the cut of the call's restore point.

        Raises:
            ResourceNotFoundError: when it is not there, or not whole.
            UnreachableError: when its file system is not mounted or something is mounted over it, or nothing
                at all is where the snapshots are to be.
        """
        cut, name = None, _point(call)
        with (
            contextlib.suppress(FileNotFoundError, ResourceNotFoundError),
            self._opened() as state,
            held(state, name) as directory,
        ):
            cut = self._read(directory, name)
        if cut is None:
            _require_mounted(call, self.directory)
        if cut is None and self._given is not None and _is_void(self._given):
            raise UnreachableError(
                f"{self._given} holds no snapshots at all: it may not be mounted",
                hint="Mount it, or correct the node's snapshot_dir.",
            )
        if cut is None or not cut.whole:
            raise ResourceNotFoundError(f"there is no cut {call.point} of {self.path} in {self.directory}")
        return cut

    def finish(self, cut: StoredCut, facts: Mapping[str, Json]) -> StoredCut:
        """Record that *cut* is whole; return it."""
        return self._recorded(replace(cut, whole=True, facts=facts))

    def made_durable(self, cut: StoredCut, facts: Mapping[str, Json] | None = None) -> StoredCut:
        """Return *cut*, with *facts* when they are given, when a power cut can no longer harm it."""
        if cut.durable:
            return cut
        with self.opened(cut) as directory:
            sync_file_system(directory)
        return self._recorded(replace(cut, durable=True, facts=cut.facts if facts is None else facts))

    def remove(self, call: Call) -> str:
        """Remove the call's cut, whole or half-made; return a note. What restores have replaced stays.

        Raises:
            UnreachableError: when it cannot be seen: its file system is not mounted, or something over it.
        """
        try:
            with self._opened() as state:
                if note := self._remove_cut(state, call):
                    return note
        except (FileNotFoundError, ResourceNotFoundError):
            _require_mounted(call, self.directory)
            return ""
        with self.former_states() as former:
            if former is not None:
                former.let_go_of_expired()
        self._remove_when_empty()
        return "; ".join(self._notes)

    @contextlib.contextmanager
    def former_states(self) -> Iterator[FormerStates | None]:
        """Hold what restores have replaced; None when there is nothing beside the data."""
        with contextlib.ExitStack() as stack:
            try:
                stage = stack.enter_context(self._stage(make=False))
            except (FileNotFoundError, ResourceNotFoundError):
                yield None
                return
            yield self._former(stage)

    def revert(self, to: Side, *, allow_in_use: bool) -> str:
        """Put the state *to* where the data are, which become the undo instead; return what to tell.

        Unless *allow_in_use* it raises `InUseError` when programs use what is there.

        Raises:
            ResourceNotFoundError: when no restore has left anything.
            MountInsideError, NonRecoverableError: as `require_exchangeable` says.
        """
        with self.former_states() as former:
            if former is None:
                raise ResourceNotFoundError(f"no restore of {self.path} has left anything to be undone with")
            former.take()
            self.require_exchangeable()
            if not allow_in_use:
                self.require_unused()
            with open_declared(self.path) as declared:
                mark = former.revert(declared, to)
        return self._reverted(mark, to)

    def revert_content(self, to: Side, write: Callable[[int], None]) -> str:
        """Put the content of the state *to* into the database, and keep the present one; return what to tell.

        *write* is given an open directory and puts its `CONTENT` into the database, whose own it keeps there.

        Raises:
            ResourceNotFoundError: when no restore has left anything.
        """
        with self.former_states() as former:
            if former is None:
                raise ResourceNotFoundError(f"no restore of {self.path} has left anything to be undone with")
            former.take()
            with open_declared(self.path) as declared:
                mark = former.revert_content(declared, to, write)
        return self._reverted(mark, to)

    def _reverted(self, mark: FormerMark, to: Side) -> str:
        what = f"before {mark.execution}" if to is Side.FORMER else f"that {mark.execution} had restored"
        return f"{self.path} is in the state {what}"

    def confirm(self, call: Call, keep_s: float | None) -> str:
        """Note that the call's restore has succeeded, and let go of older states; return a note."""
        with self.former_states() as former:
            if former is not None:
                former.take()
                former.confirm(call, keep_s)
        self._remove_when_empty()
        told = "; ".join(self._notes)
        if told and keep_s == 0 and not call.restoring:
            raise NonRecoverableError(
                told,
                hint="Unmount what is mounted there, or end the programs that use it; then, once more: "
                f"quiesce restore --forget-undo {call.deployment}.",
            )
        return told

    @contextlib.contextmanager
    def incoming(self) -> Iterator[int]:
        """Hold an empty directory of ours open in which `CONTENT` is built that `put_in_place` then takes.

        What is not put in place when the block raises is removed.
        """
        self._make_parents()
        with self._nothing_left_empty(), self._stage() as stage:
            former = self._former(stage)
            # whoever goes on from here must not take what an interrupted one had put there for its former
            former.take()
            former.let_go_of_expired()
            remove(stage, INCOMING)
            place = make_directory(stage, INCOMING)
            try:
                yield place
            except Exception:
                with contextlib.suppress(OSError, NonRecoverableError):
                    if not former.holds_replaced():
                        remove(stage, INCOMING)
                raise
            finally:
                os.close(place)

    def replace_content(self, call: Call, write: Callable[[int], None]) -> str:
        """Put the content of what was built at `incoming` into the database there; return what to tell.

        *write* as for `revert_content`. What was there is kept as undo, as `put_in_place` keeps it.
        """
        with self._stage() as stage:
            former = self._former(stage)
            former.replace_content(call, write)
            if (kept := former.describe()) is not None:
                self._notes.append(f"what was there before is kept in {kept.place}")
        return "; ".join([f"{self.path} is restored", *self._notes])

    def require_unused(self) -> None:
        """Raise `InUseError` when programs use what is there: they would go on in the former state."""
        if users := self.users():
            raise InUseError(f"{self.path} is in use by {shown(users)}")

    def users(self) -> tuple[User, ...]:
        """Return the programs that use what is there."""
        try:
            with open_declared(self.path) as declared, _directory_declared(declared) as present:
                return users_of(present, self._own_processes())
        except (FileNotFoundError, NotADirectoryError, ResourceNotFoundError):
            return ()

    def require_exchangeable(self) -> None:
        """Raise, before anything is touched, when what is there cannot be replaced.

        Raises:
            MountInsideError: when something is mounted in it.
            NonRecoverableError: when it is a mount point itself.
        """
        try:
            with open_declared(self.path) as declared:
                _require_exchangeable(declared)
        except (FileNotFoundError, ResourceNotFoundError):
            return

    def put_in_place(self, call: Call, *, allow_in_use: bool = True) -> str:
        """Let what was built at `incoming` take the place of the data at one instant; return what to tell.

        Unless *allow_in_use* it raises `InUseError` when programs have come to use them meanwhile.

        What was there is kept as undo. After a crash at any point the next `incoming` finishes or
        takes back what was begun.
        """
        if not allow_in_use:
            self.require_unused()
        with self._stage() as stage, open_declared(self.path) as declared:
            former = self._former(stage)
            with held(stage, INCOMING) as place:
                _require_exchangeable(declared)
                former.exchange_in(call, place, declared)
            former.take()
            kept = former.describe()
            if kept is not None and former.holds_anything():
                self._notes.append(f"what was there before is kept in {kept.place}")
            if users := former.users():
                self._notes.append(f"{users} goes on in that former state until it is restarted")
        return "; ".join([f"{self.path} is restored", *self._notes])

    def _former(self, stage: int) -> FormerStates:
        return FormerStates(stage, self._own_processes, self._notes.append, self._schema)

    def _remove_cut(self, state: int, call: Call) -> str:
        name = _point(call)
        doomed = os.fsencode(_REMOVING) + name
        remove(state, doomed)
        if not exists(state, name):
            _require_mounted(call, self.directory)
            return ""
        where = self.directory / os.fsdecode(name)
        with held(state, name) as directory:
            try:
                cut = self._read(directory, name)
            except DamagedArtifactError:
                # whoever made it: what did not become a restore point may be removed by its own maker only
                if call.undo:
                    raise
                cut = StoredCut(directory=where, execution=call.execution)
            if cut is None and _holds_anything(directory):
                return f"quiesce did not make {where}; it was left alone"
            if cut is not None and call.undo and cut.execution != call.execution:
                return f"{where} was made by execution {cut.execution}; it was left alone"
            identity = Identity.of_descriptor(directory)
        move(Named(state, name, identity), state, doomed)
        remove(state, doomed)
        return ""

    @contextlib.contextmanager
    def _nothing_left_empty(self) -> Iterator[None]:
        """When the block raises, leave no directory of ours in which there is nothing."""
        try:
            yield
        except Exception:
            with contextlib.suppress(NonRecoverableError):
                self._remove_when_empty()
            raise

    def _remove_when_empty(self) -> None:
        with contextlib.suppress(OSError, ResourceNotFoundError), open_declared(self.path) as declared:
            os.rmdir(b".quiesce-" + declared.name, dir_fd=declared.parent)
        with contextlib.suppress(OSError, ResourceNotFoundError), self._opened() as state:
            # noted for a directory beside the data that is gone now
            names = [entry.name for entry in os.scandir(state)]
            if names == [os.fsdecode(_STAGE)] and not self._is_staged():
                os.unlink(_STAGE, dir_fd=state)
        with contextlib.suppress(OSError, ResourceNotFoundError), open_declared(self.directory) as declared:
            os.rmdir(declared.name, dir_fd=declared.parent)

    def _is_staged(self) -> bool:
        """Tell whether there is a directory of ours beside the data."""
        with open_declared(self.path) as declared:
            return exists(declared.parent, b".quiesce-" + declared.name)

    @contextlib.contextmanager
    def _opened(self, *, make: bool = False) -> Iterator[int]:
        """Hold the directory of the cuts open; raises `FileNotFoundError` when there is none."""
        path = self.directory
        if make:
            _require_safe_to_make(path)
            make_private_directory(path)
        with open_declared(path) as declared:
            descriptor = declared.open()
        try:
            if reason := why_directory_not_trusted(descriptor):
                raise UntrustedPathError(f"{path} is not used: {reason}", hint=ELSEWHERE)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _stage(self, *, make: bool = True) -> Iterator[int]:
        """Hold the directory open in which trees are built and kept that are exchanged with the data."""
        with open_declared(self.path) as declared, self._opened(make=make) as state:
            if mount_id(state) == mount_id(declared.parent):
                yield state
                return
            opener = _made if make else held
            with opener(declared.parent, b".quiesce-" + declared.name) as stage:
                _require_same_stage(state, stage)
                yield stage

    def _make_parents(self) -> None:
        """Make what is missing above the path, open to others as directories are that nobody hides."""
        with contextlib.suppress(ResourceNotFoundError), open_declared(self.path):
            return
        for parent in list(self.path.parents)[-2::-1]:
            with open_declared(parent) as declared:
                try:
                    os.mkdir(declared.name, _PARENT_MODE, dir_fd=declared.parent)
                except FileExistsError:
                    continue
                made = open_directory(declared.parent, declared.name)
                try:
                    # whatever the process's own umask hides
                    os.fchmod(made, _PARENT_MODE)
                    os.fsync(made)
                finally:
                    os.close(made)

    def _recorded(self, cut: StoredCut) -> StoredCut:
        with self.opened(cut) as directory:
            self._write(directory, cut)
        return cut

    def _write(self, directory: int, cut: StoredCut) -> None:
        body = {
            "format": FORMAT,
            "version": 1,
            "execution": cut.execution,
            "whole": cut.whole,
            "durable": cut.durable,
            "boot": _boot(),
            "facts": dict(cut.facts),
        }
        write_json(directory, MARK, body | {"checksum": _checksum(body)})

    def _read(self, directory: int, name: bytes) -> StoredCut | None:
        body = read_json(directory, MARK)
        if body.get("format") != FORMAT:
            return None
        if body.get("checksum") != _checksum({key: body[key] for key in body if key != "checksum"}):
            raise DamagedArtifactError(f"the mark in {shown_path(directory)} is not what was written")
        facts = body.get("facts")
        return StoredCut(
            directory=self.directory / os.fsdecode(name),
            execution=ExecutionId(str(body["execution"])),
            # what was not durable yet when the machine was restarted cannot be trusted
            whole=bool(body["whole"]) and bool(body["durable"] or body["boot"] == _boot()),
            durable=bool(body["durable"]),
            facts=facts if isinstance(facts, dict) else {},
        )


def _checksum(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _require_safe_to_make(path: Path) -> None:
    with contextlib.suppress(ResourceNotFoundError), open_declared(path) as declared:
        if reason := why_entries_not_trusted(declared.parent):
            raise UntrustedPathError(f"{path} is not used: {reason}", hint=ELSEWHERE)


def _require_exchangeable(declared: Declared) -> None:
    if _named(declared) is None:
        return
    descriptor = os.open(declared.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=declared.parent)
    try:
        if mount_id(descriptor) != mount_id(declared.parent):
            raise NonRecoverableError(
                f"{os.fsdecode(declared.path)} is a mount point and cannot be exchanged",
                hint="Declare a directory below the mount point instead.",
            )
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            require_no_mounts_below(descriptor)
    finally:
        os.close(descriptor)


def _require_same_stage(state: int, stage: int) -> None:
    """Raise unless *stage*, which lies among what others may rename, is the one that was made before."""
    status, identity = os.fstat(stage), list(Identity.of_descriptor(stage))
    if read_json(state, _STAGE).get("identity") == identity:
        return
    ours = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if not ours or os.listdir(stage):
        raise UntrustedPathError(
            f"{shown_path(stage)} is not what quiesce made there",
            hint="Look at it, and move it away.",
        )
    write_json(state, _STAGE, {"identity": identity})


@contextlib.contextmanager
def _directory_declared(declared: Declared) -> Iterator[int]:
    descriptor = declared.open()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _made(above: int, name: bytes) -> Iterator[int]:
    """Hold the directory *name* open, made private when it was not there."""
    try:
        descriptor = open_directory(above, name)
    except FileNotFoundError:
        descriptor = make_directory(above, name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _named(declared: Declared) -> Named | None:
    try:
        return Named.now(declared.parent, declared.name)
    except FileNotFoundError:
        return None


def _holds_anything(directory: int) -> bool:
    return not all(is_unfinished(name) for name in os.listdir(directory))


def _is_void(directory: Path) -> bool:
    """Tell whether there is nothing in *directory*, or no directory at all."""
    try:
        return next(directory.iterdir(), None) is None
    except (FileNotFoundError, NotADirectoryError):
        return True


def _require_mounted(call: Call, directory: Path) -> None:
    """Raise when the call's cut was made on what is not mounted any more, or hidden: not there, but not gone.

    Raises:
        UnreachableError: when that is so.
    """
    point, mounts = (call.artifact or {}).get(MOUNTED_AT), read_mounts()
    if not isinstance(point, str) or call.undo:
        return
    if os.fsencode(point) not in {mount.point for mount in mounts}:
        raise UnreachableError(
            f"the snapshot {call.point} lies on a file system that is not mounted at {point}",
            hint=f"Mount it. If it is lost for good, mount another one at {point}, and remove them then.",
        )
    over = mounted_over(os.path.realpath(os.fsencode(directory)), os.fsencode(point), mounts)
    if over is not None:
        raise UnreachableError(
            f"the snapshot {call.point} cannot be seen: something is mounted over it at {os.fsdecode(over)}",
            hint="Unmount that, at least until it is done.",
        )


def _point(call: Call) -> bytes:
    if call.point is None:
        raise NonRecoverableError(f"{call.interface} needs the name of a restore point")
    return os.fsencode(f"{call.point}")


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
