"""What restores have replaced, kept beside the data so that the last of them can be undone.

    .incoming/          what a restore builds; after the exchange, for a moment, what it has replaced
    .undo/              what the last restore has replaced, or, once that is undone, what it had put there
    .former-<number>/   older states, kept until the next restore has succeeded
    .kept-<number>/     not needed any more; it stays for as long as programs use it

Each holds ``content``, a tree or a file, and ``mark.json``. A database that programs have open is not
exchanged: its content is replaced by a transaction, and what was there is copied before, as ``former``, which
takes the place of ``content`` afterwards. Whether that transaction was made tells the number of its schema.
A name changes at one instant, so whoever dies anywhere leaves each state whole and marked. The undo is the
*first* state that a restore replaced which has not succeeded since: one that failed or was interrupted, and
is run again, does not take its place.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from quiesce.errors import DamagedArtifactError, MountInsideError, NonRecoverableError, ResourceNotFoundError
from quiesce.files.descriptors import Identity
from quiesce.files.exchange import Named, exchange, move
from quiesce.files.mounts import require_no_mounts_below
from quiesce.files.trust import Declared
from quiesce.model.call import Call
from quiesce.model.former_state import FormerState, Side
from quiesce.model.ids import BackupName, ExecutionId
from quiesce.provider_kit.artifact import CONVERTER
from quiesce.providers.host.counting import count_tree, fingerprint_of
from quiesce.providers.host.entries import exists, held, read_json, remove, shown_path, write_json
from quiesce.providers.host.in_use import shown, users_of

CONTENT: Final = b"content"
MARK: Final = b"mark.json"
#: a database's content that is about to be replaced
OTHER: Final = b"former"
INCOMING: Final = b".incoming"
UNDO: Final = b".undo"
_OLDER: Final = b".former-"
_KEPT: Final = b".kept-"

#: a file or directory among those beside the data: its number, and which kind it is. Not the device: a
#: machine that starts again may number its disks anew
_Number = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerMark:
    """What ``mark.json`` says of a state that was replaced."""

    execution: ExecutionId
    point: BackupName | None
    #: the first restore since one has succeeded; older states of the same chain are those in between
    chain: ExecutionId
    at: float
    #: what the restore has put there
    new: _Number
    #: changes when anything of that is changed
    fingerprint: str = ""
    succeeded: bool = False
    kept: Side = Side.FORMER
    #: whether nothing was in the data's place in the state that is kept
    nothing_kept: bool = False
    #: what is kept; None where nothing is, or it was copied
    content: _Number | None = None
    #: whether an exchange back was begun, and what was in place then
    reverting: bool = False
    present: _Number | None = None
    #: the number of a database's schema before its content was replaced
    schema: int | None = None
    keep_until: float | None = None
    size_bytes: int | None = None


class FormerStates:
    """The states in one open directory beside the data."""

    def __init__(
        self,
        stage: int,
        own_processes: Callable[[], Collection[int]],
        say: Callable[[str], None],
        schema: Callable[[], int | None] = lambda: None,
    ) -> None:
        """*own_processes* names those of quiesce, which may use what is removed; *say* tells what stays.

        *schema* tells the number of the database's schema, where the data are one.
        """
        self._stage = stage
        self._schema = schema
        self._own_processes = own_processes
        self._say = say

    # -- looking ----------------------------------------------------------------------------------------

    def mark(self) -> FormerMark | None:
        """Return what is known of the undo; None when there is none."""
        mark = self._mark_of(UNDO)
        if mark is None or not mark.reverting:
            return mark
        with held(self._stage, UNDO) as undo:
            now = _number(undo, CONTENT)
            if mark.schema is None:
                done = now == mark.present
            else:
                done = now != mark.present or self._is_replaced(undo, mark)
        mark = replace(mark, reverting=False)
        return _exchanged(mark, mark.present) if done else mark

    def describe(self) -> FormerState | None:
        """Return the undo for people and planning."""
        mark, name = self.mark(), UNDO
        if self.holds_replaced():
            mark, name = self._about_to_be(mark)
        if mark is None:
            return None
        where = shown_path(self._stage)
        return FormerState(
            execution=mark.execution,
            point=mark.point,
            replaced_at=mark.at,
            succeeded=mark.succeeded,
            kept=mark.kept,
            place=f"{where}/{os.fsdecode(name)}/{os.fsdecode(CONTENT)}",
            size_bytes=mark.size_bytes,
            keep_until=mark.keep_until,
            older=tuple(f"{where}/{os.fsdecode(name)}" for name in self._named(_OLDER)),
        )

    def holds_anything(self) -> bool:
        """Tell whether the undo is more than that nothing was there."""
        with held(self._stage, UNDO) as undo:
            return exists(undo, CONTENT)

    def users(self) -> str:
        """Return which programs use what the undo holds; empty for none."""
        with held(self._stage, UNDO) as undo:
            return shown(users_of(undo, self._own_processes()))

    # -- a restore --------------------------------------------------------------------------------------

    def exchange_in(self, call: Call, place: int, declared: Declared) -> None:
        """Put what was built in *place*, `INCOMING`, where the data are, at one instant; `take` follows."""
        new = Named.now(place, CONTENT)
        old = _named(declared)
        fingerprint = fingerprint_of(place, CONTENT, moved=True)
        mark = replace(
            _mark_of_restore(call, new.identity),
            fingerprint=fingerprint,
            nothing_kept=old is None,
            content=_number_of(old.identity) if old is not None else None,
        )
        self._write(place, mark)
        if old is None:
            move(new, declared.parent, declared.name)
        else:
            exchange(old, new)

    def replace_content(self, call: Call, write: Callable[[int], None]) -> None:
        """Let *write* put the content of what was built in `INCOMING` into the database in its place.

        It is given that directory, and keeps what was there in it, as `OTHER`, before it replaces anything.
        """
        with held(self._stage, INCOMING) as place:
            mark = _mark_of_restore(call, Identity.of_name(place, CONTENT))
            self._write(place, replace(mark, schema=self._schema()))
            write(place)
            os.replace(OTHER, CONTENT, src_dir_fd=place, dst_dir_fd=place)
            os.fsync(place)
        self.take()

    def holds_replaced(self) -> bool:
        """Tell whether `INCOMING` holds what was replaced: its exchange was made, and `take` was not."""
        mark = self._mark_of(INCOMING)
        if mark is None:
            return False
        with held(self._stage, INCOMING) as place:
            return _number(place, CONTENT) != mark.new or self._is_replaced(place, mark)

    def take(self) -> None:
        """Make what has just been replaced the undo, unless that is what restores have put there since.

        Nothing is done when nothing was replaced. It may be called again when it was interrupted.
        """
        mark = self._mark_of(INCOMING)
        if mark is None or not self.holds_replaced():
            return
        self._take_other(INCOMING)
        before = self.mark()
        if before is not None and _goes_on(before, mark):
            self._write_undo(_gone_on(before, mark))
            self._set_aside(replace(mark, chain=before.chain, succeeded=False), before)
            return
        if before is not None:
            self._write_undo(before)
            self._rename(UNDO, _OLDER)
        move(self._entry(INCOMING), self._stage, UNDO)

    def confirm(self, call: Call, keep_s: float | None) -> None:
        """Note that the restore has succeeded, and let go of what earlier ones had replaced."""
        if keep_s == 0:
            self.let_go_of_all()
            return
        mark = self.mark()
        if mark is None or mark.execution != call.execution:
            return
        with held(self._stage, UNDO) as undo:
            size_bytes = _size(undo)
        keep_until = None if keep_s is None else time.time() + keep_s
        self._write_undo(replace(mark, succeeded=True, size_bytes=size_bytes, keep_until=keep_until))
        for name in self._named(_OLDER):
            older = self._mark_of(name)
            if older is not None and older.chain != mark.chain:
                self._let_go(name)
        self._remove_all_unused()

    # -- going back -------------------------------------------------------------------------------------

    def revert(self, declared: Declared, to: Side) -> FormerMark:
        """Exchange the data with the undo, unless they are in the state *to* already; return its mark.

        Raises:
            ResourceNotFoundError: when nothing is kept.
            DamagedArtifactError: when what was kept is gone.
        """
        mark = self.mark()
        if mark is None:
            raise ResourceNotFoundError("no restore has left anything that it could be undone with")
        if mark.kept is to:
            self._require_kept(mark)
            self._require_no_mounts()
            present = _named(declared)
            now = _number_of(present.identity) if present else None
            self._write_undo(replace(mark, reverting=True, present=now))
            self._swap(declared, present)
            mark = _exchanged(mark, now)
        self._write_undo(mark)
        return mark

    def revert_content(self, declared: Declared, to: Side, write: Callable[[int], None]) -> FormerMark:
        """Do the same with a database that programs may have open: *write* does as in `replace_content`.

        Raises:
            ResourceNotFoundError: when nothing is kept.
        """
        mark = self._settled()
        if mark is None:
            raise ResourceNotFoundError("no restore has left anything that it could be undone with")
        if mark.kept is to and _named(declared) is not None:
            with held(self._stage, UNDO) as undo:
                before = _number(undo, CONTENT)
                self._write(undo, replace(mark, reverting=True, present=before, schema=self._schema()))
                write(undo)
                os.replace(OTHER, CONTENT, src_dir_fd=undo, dst_dir_fd=undo)
                os.fsync(undo)
            mark = replace(mark, kept=_other(to), content=None)
            self._write_undo(mark)
            return mark
        return self.revert(declared, to)

    # -- letting go -------------------------------------------------------------------------------------

    def let_go_of_all(self) -> None:
        """Remove every state that is kept, but what programs use."""
        for name in (UNDO, *self._named(_OLDER)):
            self._let_go(name)
        self._remove_all_unused()

    def let_go_of_expired(self) -> None:
        """Remove the undo when it was to be kept for a time which is over, and what is not used any more."""
        mark = self.mark()
        if mark is not None and mark.keep_until is not None and mark.keep_until <= time.time():
            self.let_go_of_all()
        else:
            self._remove_all_unused()

    # -- inside -----------------------------------------------------------------------------------------

    def _about_to_be(self, before: FormerMark | None) -> tuple[FormerMark | None, bytes]:
        """Return what `take` will make of an exchange that was interrupted."""
        mark = self._mark_of(INCOMING)
        if mark is None or before is None or not _goes_on(before, mark):
            return mark, INCOMING
        return _gone_on(before, mark), UNDO

    def _is_replaced(self, directory: int, mark: FormerMark) -> bool:
        """Tell whether a database's content was replaced, and what was there is still called `OTHER`."""
        return mark.schema is not None and exists(directory, OTHER) and self._schema() != mark.schema

    def _take_other(self, name: bytes) -> None:
        with held(self._stage, name) as directory:
            if exists(directory, OTHER):
                os.replace(OTHER, CONTENT, src_dir_fd=directory, dst_dir_fd=directory)
                os.fsync(directory)

    def _settled(self) -> FormerMark | None:
        """Bring an undo of a database's content that was interrupted to one end or the other."""
        begun, mark = self._mark_of(UNDO), self.mark()
        if begun is None or mark is None or not begun.reverting or begun.schema is None:
            return mark
        with held(self._stage, UNDO) as undo:
            if self._is_replaced(undo, begun):
                self._take_other(UNDO)
            remove(undo, OTHER)
        mark = replace(mark, schema=None, present=None)
        self._write_undo(mark)
        return mark

    def _set_aside(self, mark: FormerMark, before: FormerMark) -> None:
        """Let go of what an unfinished restore had put there, unless somebody has written to it since."""
        with held(self._stage, INCOMING) as place:
            there = exists(place, CONTENT)
            untouched = there and fingerprint_of(place, CONTENT, moved=True) == before.fingerprint
            if there and not untouched:
                self._write(place, mark)
        self._update_undo(fingerprint=mark.fingerprint)
        if there and not untouched:
            self._rename(INCOMING, _OLDER)
        else:
            self._let_go(INCOMING)
            self._remove_all_unused()

    def _swap(self, declared: Declared, present: Named | None) -> None:
        with held(self._stage, UNDO) as undo:
            kept = Named.now(undo, CONTENT) if exists(undo, CONTENT) else None
            if present is not None and kept is not None:
                exchange(present, kept)
            elif kept is not None:
                move(kept, declared.parent, declared.name)
            elif present is not None:
                move(present, undo, CONTENT)

    def _require_kept(self, mark: FormerMark) -> None:
        """Refuse to put anything but what was kept in the data's place, or nothing where something was."""
        with held(self._stage, UNDO) as undo:
            now = _number(undo, CONTENT)
        if mark.nothing_kept or (now is not None and mark.content in (None, now)):
            return
        where = f"{shown_path(self._stage)}/{os.fsdecode(UNDO)}/{os.fsdecode(CONTENT)}"
        what = "is gone" if now is None else "was replaced by something else"
        raise DamagedArtifactError(
            f"what was kept for an undo {what}: {where}; nothing was changed",
            hint="Restore a restore point of the state that you want.",
        )

    def _require_no_mounts(self) -> None:
        with held(self._stage, UNDO) as undo:
            require_no_mounts_below(undo)

    def _let_go(self, name: bytes) -> None:
        """Give up *name*, at one instant: half removed it is nothing that anybody takes for whole.

        Where something is mounted in it, it stays as it is, and that is said.
        """
        try:
            with held(self._stage, name) as directory:
                require_no_mounts_below(directory)
        except FileNotFoundError:
            return
        except MountInsideError as error:
            self._say(f"{shown_path(self._stage)}/{os.fsdecode(name)} could not be removed: {error}")
        else:
            self._rename(name, _KEPT)

    def _remove_all_unused(self) -> None:
        """Remove what is given up, as far as no program uses it; what stays is said, and tried again."""
        for name in self._named(_KEPT):
            self._remove_unused(name)

    def _remove_unused(self, name: bytes) -> None:
        with held(self._stage, name) as kept:
            users = users_of(kept, self._own_processes())
        if users:
            where = f"{shown_path(self._stage)}/{os.fsdecode(name)}"
            self._say(f"{where} is kept: it is in use by {shown(users)}")
            return
        try:
            remove(self._stage, name)
        except NonRecoverableError as error:
            self._say(str(error))

    def _rename(self, name: bytes, prefix: bytes) -> bytes:
        entry = self._entry(name)
        to = b"%s%d-%d" % (prefix, time.time_ns(), entry.identity.inode)
        move(entry, self._stage, to)
        return to

    def _entry(self, name: bytes) -> Named:
        return Named.now(self._stage, name)

    def _named(self, prefix: bytes) -> list[bytes]:
        with os.scandir(self._stage) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
        return sorted(name for name in names if name.startswith(prefix))

    def _mark_of(self, name: bytes) -> FormerMark | None:
        try:
            with held(self._stage, name) as directory:
                body = read_json(directory, MARK)
                where = shown_path(directory)
        except FileNotFoundError:
            return None
        if not body:
            return None
        try:
            return CONVERTER.structure(body, FormerMark)
        except Exception as error:  # cattrs raises whatever a hook does
            raise DamagedArtifactError(f"the mark in {where} cannot be read: {error}") from error

    def _update_undo(self, *, fingerprint: str) -> None:
        mark = self.mark()
        if mark is not None:
            self._write_undo(replace(mark, fingerprint=fingerprint))

    def _write_undo(self, mark: FormerMark) -> None:
        with held(self._stage, UNDO) as undo:
            self._write(undo, mark)

    def _write(self, directory: int, mark: FormerMark) -> None:
        write_json(directory, MARK, CONVERTER.unstructure(mark))


def _mark_of_restore(call: Call, new: Identity) -> FormerMark:
    return FormerMark(
        execution=call.execution,
        point=call.point,
        chain=call.execution,
        at=time.time(),
        new=_number_of(new),
    )


def _goes_on(before: FormerMark, mark: FormerMark) -> bool:
    """Tell whether *mark*'s restore has replaced what one that has not succeeded had put there."""
    return before.execution == mark.execution or (not before.succeeded and before.kept is Side.FORMER)


def _gone_on(before: FormerMark, mark: FormerMark) -> FormerMark:
    """Return what is known of the undo now that *mark*'s restore has put another state there."""
    return replace(before, execution=mark.execution, point=mark.point, at=mark.at, new=mark.new)


def _exchanged(mark: FormerMark, present: _Number | None) -> FormerMark:
    """Return what is known when *present*, if anything was there, has become what is kept."""
    return replace(mark, kept=_other(mark.kept), nothing_kept=present is None, content=present)


def _named(declared: Declared) -> Named | None:
    try:
        return Named.now(declared.parent, declared.name)
    except FileNotFoundError:
        return None


def _number(directory: int, name: bytes) -> _Number | None:
    try:
        return _number_of(Identity.of_name(directory, name))
    except FileNotFoundError:
        return None


def _number_of(identity: Identity) -> _Number:
    return identity.inode, identity.kind


def _other(side: Side) -> Side:
    return Side.RESTORED if side is Side.FORMER else Side.FORMER


def _size(undo: int) -> int:
    try:
        status = os.stat(CONTENT, dir_fd=undo, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size
    with held(undo, CONTENT) as content:
        return count_tree(content).size_bytes
