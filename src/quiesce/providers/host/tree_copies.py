"""A copy of a tree that is begun while it is written to, so that the window grows with what changes only.

What is unchanged is told by its inode number, kind, size and times: any write, link or change of metadata
moves the time of change (``st_ctime``), which no program can set. It is believed only of what was older than
the last `syncfs` by more than a file system's coarsest tick and a direct write on its way:

- a page that is dirty already is written to through a map without a new time, until it was written back;
- two writes within one tick have the same time;
- a direct write (``O_DIRECT``) has its time before its data are there.

Whatever is younger counts as changed. It is for file systems only whose times tell (`mounts.times_tell`).
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from quiesce.errors import MountInsideError, NonRecoverableError, TreeChangedError
from quiesce.files.content import Progress
from quiesce.files.descriptors import DIRECTORY, PASSAGE, Identity, open_below
from quiesce.files.levels import DirectoryLevel, Levels
from quiesce.files.mounts import require_no_mounts_below
from quiesce.files.problems import TreeProblems
from quiesce.files.system_calls import sync_file_system
from quiesce.files.walking import REPLACED, Entry
from quiesce.files.writing import make_directory
from quiesce.providers.host.cuts import LONGEST_PATH, data_bytes, is_reasonable
from quiesce.providers.host.taking import CutTally, Taker, is_data, version_of

_NO_DATA: Final = "sockets and devices are left out"
_TOO_DEEP: Final = f"what is deeper than {LONGEST_PATH} bytes of its path is left out"
#: what is younger is not believed to be unchanged: some file systems tick once in a second
_YOUNG_S: Final = 2.0
_MOST_PASSES: Final = 8
#: what one more pass is worth before the window
_WORTH_S: Final = 0.02
_ENTRY_S: Final = 50e-6
_BYTES_A_SECOND: Final = 500 << 20
#: a pass that costs less than this part of the one before has something to gain still
_MUCH_SHORTER: Final = 0.5
#: what is taken to have changed while a pass lasted, as a part of what it took
_CHANGED_MEANWHILE: Final = 0.1
_LOOK_S: Final = 0.1
#: of no entry: so it is looked at again
_UNKNOWN: Final = 0
_LONGEST_NAME: Final = 255
_KIND: Final = 0o170000


@dataclass(slots=True)
class _Directory:
    """What is known of a directory since the last pass."""

    identity: Identity
    #: the version of each entry, by its name
    entries: dict[str, int]


@dataclass(slots=True)
class _File:
    """A file with more than one name."""

    version: int
    entries: list[tuple[bytes, os.stat_result]] = field(default_factory=list)
    #: the name under which its content was taken in this pass
    first: bytes | None = None

    def as_known(self) -> tuple[int, tuple[bytes, ...]]:
        """Return what is equal when nothing about it has changed."""
        return self.version, tuple(path for path, _ in self.entries)


@dataclass(slots=True)
class _Frame:
    """A directory that a pass has come to, and not left."""

    level: DirectoryLevel
    names: Iterator[str]
    before: dict[str, int]
    now: dict[str, int]


class TreeCopy:
    """A copy of a tree, brought up to date until `finish`."""

    def __init__(self, source: int, directory: int, name: bytes, progress: Progress) -> None:
        """Copy the tree at *source* into the new directory *name* of *directory*.

        Raises:
            MountInsideError: when anything is mounted inside *source*.
        """
        require_no_mounts_below(source)
        with contextlib.ExitStack() as stack:
            self.source = os.dup(source)
            stack.callback(os.close, self.source)
            self.raw = make_directory(directory, name)
            stack.callback(os.close, self.raw)
            self.progress = progress
            self.taker = Taker(self.raw, self._hear)
            stack.callback(self.taker.close)
            self._stack = stack.pop_all()
        self.known: dict[bytes, _Directory] = {}
        #: the version of the root
        self.root = _UNKNOWN
        #: by device and inode, as `_File.as_known` tells
        self.files: dict[tuple[int, int], tuple[int, tuple[bytes, ...]]] = {}

    def copy_beforehand(self) -> None:
        """Copy all of it, then what has changed meanwhile, as long as that makes much less of it.

        Raises:
            NonRecoverableError: when something cannot be read.
        """
        done = self._pass()
        for _ in range(_MOST_PASSES):
            if max(done.to_do_s, done.lasted_s * _CHANGED_MEANWHILE) < _WORTH_S:
                return
            if done.to_do_s >= _WORTH_S:
                self._rest(_YOUNG_S)
            before, done = done, self._pass()
            if done.cost_s > before.cost_s * _MUCH_SHORTER:
                return

    def is_in(self, directory: int, name: bytes) -> bool:
        """Tell whether it lies there still, in *directory* under *name*."""
        try:
            return Identity.of_name(directory, name) == Identity.of_descriptor(self.raw)
        except FileNotFoundError:
            return False

    def finish(self, progress: Progress) -> CutTally:
        """Take what has changed since the last pass, or all when there was none; return what was met."""
        self.progress, taker = progress, self.taker
        before, copied = taker.taken, taker.copied_bytes
        done = _Pass(self, since_ns=None)
        done.run()
        taker.flush()
        done.tally.taken, done.tally.copied_bytes = taker.taken - before, taker.copied_bytes - copied
        return done.tally

    def close(self) -> None:
        """Close what is open; what was copied stays. What counts was handed to the kernel before."""
        with contextlib.suppress(OSError):  # of a full disk: closing tries once more to write
            self._stack.close()

    def _hear(self, moved_bytes: int) -> None:
        self.progress(moved_bytes)

    def _pass(self) -> _Pass:
        since_ns = time.time_ns() - int(_YOUNG_S * 1e9)
        sync_file_system(self.source)
        done = _Pass(self, since_ns=since_ns)
        done.run()
        return done

    def _rest(self, seconds: float) -> None:
        """Let what is young grow old, and hear meanwhile whether anybody still waits for us."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.progress(0)
            time.sleep(min(left, _LOOK_S))


class _Pass:
    """One walk through the tree: what is not known to be unchanged is taken."""

    def __init__(self, copy: TreeCopy, *, since_ns: int | None) -> None:
        """What has changed since *since_ns* is looked at again; None: nobody looks again."""
        self._copy = copy
        self._taker = copy.taker
        self._since_ns = since_ns
        #: whether the index is being written: then everything is taken in the order of the walk
        self._first = not copy.known
        # a descriptor that was listed before does not list what was made since, on btrfs
        self._root = os.open(b".", DIRECTORY, dir_fd=copy.source)
        self._levels = Levels(self._root)
        self._files: dict[tuple[int, int], _File] = {}
        self._met: list[tuple[bytes, os.stat_result]] = []
        self._mounts: list[bytes] = []
        #: what is no more where it was: nothing that lies there, or below it, is what was taken
        self._dropped: set[bytes] = set()
        self._problems = TreeProblems()
        self._untrusted = self._untrusted_bytes = 0
        #: whether anything was taken by the last try
        self._took = False
        self.tally = CutTally()
        self.lasted_s = 0.0

    @property
    def to_do_s(self) -> float:
        """About how long it takes to take again what could not be believed."""
        return self._untrusted * _ENTRY_S + self._untrusted_bytes / _BYTES_A_SECOND

    @property
    def cost_s(self) -> float:
        """What it has cost, and left."""
        return self.lasted_s + self.to_do_s

    def run(self) -> None:
        """Walk.

        Raises:
            MountInsideError, TreeChangedError: when something is mounted inside.
            NonRecoverableError: when something cannot be read.
        """
        began = time.monotonic()
        try:
            self._walk()
        finally:
            self._levels.close()
            os.close(self._root)
        self._take_files()
        self._refuse_what_cannot_be()
        if self._since_ns is None:
            self._compare_directories()
        if self._first:
            self._taker.end_index()
        self._copy.files = {key: file.as_known() for key, file in self._files.items()}
        self.tally.privileged = len(self._taker.privileged)
        for path, reason in self._taker.shortened.items():
            self.tally.left_out.add(path, reason)
        self.lasted_s = time.monotonic() - began

    def _walk(self) -> None:
        level = self._levels.current
        status = os.fstat(level.descriptor)
        version = _version(status)
        if version != self._copy.root:
            self._take(Entry(level, b"", status))
        self._copy.root = self._believed(status, version)
        self.tally.entries += 1
        frames = [self._enter(status)]
        while frames:
            if (status_below := self._look_at_entries(frames[-1])) is not None:
                frames.append(self._enter(status_below))
                continue
            frame = frames.pop()
            if self._since_ns is not None:  # else what was known is let go after the window
                self._copy.known[frame.level.path] = _Directory(frame.level.identity, frame.now)
            if frames:
                self._levels.leave()

    def _enter(self, status: os.stat_result) -> _Frame:
        self._copy.progress(0)
        level = self._levels.current
        self._met.append((level.path, status))
        try:
            names = os.listdir(level.descriptor)  # noqa: PTH208
        except OSError as error:
            self._problems.add(level.path, error)
            names = []
        if self._first:
            names.sort(key=os.fsencode)
        known = self._copy.known.get(level.path)
        before = {} if known is None else known.entries
        for name in before.keys() - set(names):
            self._drop(level.prefix + os.fsencode(name))
        return _Frame(level, iter(names), before, {})

    def _look_at_entries(self, frame: _Frame) -> os.stat_result | None:
        """Go on with the entries of *frame* until one is a directory, now entered; return its status."""
        look, descriptor, before, now = os.stat, frame.level.descriptor, frame.before, frame.now
        device, tally = frame.level.identity.device, self.tally
        for name in frame.names:
            try:
                status = look(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                if name in before:
                    self._drop(frame.level.prefix + os.fsencode(name))
                continue
            version = _version(status)
            if (
                before.get(name) == version
                and status.st_nlink == 1
                and status.st_mode & _KIND == stat.S_IFREG
                and status.st_dev == device
            ):
                now[name] = version
                tally.entries += 1
                tally.size_bytes += status.st_size
                tally.allocated_bytes += data_bytes(status)
            elif self._look_closely(frame, name, status, version):
                return status
        return None

    def _look_closely(self, frame: _Frame, name: str, status: os.stat_result, version: int) -> bool:
        """Take what has changed of an entry; return whether it is a directory, which was entered."""
        entry = Entry(frame.level, os.fsencode(name), status)
        # a directory of another device may be a subvolume; what is mounted cannot be entered
        if status.st_dev != frame.level.identity.device and not entry.is_directory:
            self._mounts.append(entry.path)
            return False
        changed, left_out = frame.before.get(name) != version, self._is_left_out(entry)
        if changed and name in frame.before and (left_out or self._is_another(entry)):
            self._drop(entry.path)
        if left_out:
            return False
        self.tally.entries += 1
        if status.st_nlink > 1 and not entry.is_directory:
            frame.now[name] = self._note_name(entry, version)
        else:
            took = not changed or self._take(entry)
            frame.now[name] = self._believed(status, version) if took else _UNKNOWN
            self._count(status)
        return entry.is_directory and self._descend(frame, entry, name)

    def _is_another(self, entry: Entry) -> bool:
        """Tell whether what is known below the entry's path is not, or no longer, this directory."""
        known = self._copy.known.get(entry.path)
        return known is not None and known.identity != entry.identity

    def _is_left_out(self, entry: Entry) -> bool:
        if not is_data(entry.status):
            self.tally.left_out.add(entry.path, _NO_DATA)
        elif len(entry.level.prefix) > LONGEST_PATH - _LONGEST_NAME and not is_reasonable(entry):
            self.tally.left_out.add(entry.path, _TOO_DEEP)
        else:
            return False
        return True

    def _descend(self, frame: _Frame, entry: Entry, name: str) -> bool:
        try:
            self._levels.enter(entry.name, entry.identity)
        except FileNotFoundError:
            self._changed(entry.path)
        except MountInsideError:
            self._mounts.append(entry.path)
        except TreeChangedError:
            self._problems.add(entry.path, REPLACED)
        except OSError as error:
            self._problems.add(entry.path, error)
        else:
            return True
        frame.now[name] = _UNKNOWN
        return False

    def _note_name(self, entry: Entry, version: int) -> int:
        """Note one name of a file that has several; while the index is written it is taken, too."""
        key = entry.status.st_dev, entry.status.st_ino
        file = self._files.get(key)
        if file is None:
            believed = self._believed(entry.status, version)
            file = self._files[key] = _File(believed)
            self._count(entry.status)
        if self._first:
            self._take_name(file, entry)
        file.entries.append((entry.path, entry.status))
        return _UNKNOWN if file.version == _UNKNOWN else version

    def _take_name(self, file: _File, entry: Entry) -> None:
        """Take the content under the first name that can be taken; the others are links to it."""
        if file.first is not None:
            self._take_link(entry, file.first)
            return
        if not self._take(entry):
            file.version = _UNKNOWN
        if self._took:
            file.first = entry.path

    def _take_files(self) -> None:
        """Take the files with several names of which anything has changed: content, metadata or a name."""
        if self._first:
            return
        for key, file in self._files.items():
            file.entries.sort(key=lambda entry: entry[0].split(b"/"))
            if self._is_as_known(key, file):
                continue
            for path, status in file.entries:
                with self._at(path, status) as entry:
                    if entry is not None:
                        self._take_name(file, entry)
                    else:
                        file.version = _UNKNOWN
                        self._drop(path)

    def _is_as_known(self, key: tuple[int, int], file: _File) -> bool:
        """Tell whether nothing about it has changed, and nothing of it was dropped with a directory."""
        known = file.version != _UNKNOWN and file.as_known() == self._copy.files.get(key)
        return known and not (self._dropped and any(self._was_dropped(path) for path, _ in file.entries))

    def _was_dropped(self, path: bytes) -> bool:
        while path and path not in self._dropped:
            path = path.rpartition(b"/")[0]
        return bool(path)

    @contextlib.contextmanager
    def _at(self, path: bytes, status: os.stat_result) -> Iterator[Entry | None]:
        """Hold the entry of a path open to be taken; None when it is not there any more."""
        parent, _, name = path.rpartition(b"/")
        try:
            descriptor = self._passage(parent)
        except OSError:
            self._changed(path)
            yield None
            return
        try:
            yield Entry(DirectoryLevel(parent, Identity.of_descriptor(descriptor), descriptor), name, status)
        finally:
            os.close(descriptor)

    def _passage(self, path: bytes) -> int:
        """Return a descriptor of a directory of the tree, by which what is in it is named."""
        return open_below(self._copy.source, path, PASSAGE) if path else os.dup(self._copy.source)

    def _take(self, entry: Entry) -> bool:
        if self._since_ns is not None:
            self._taker.let_go_of_former_content(entry.path)
        try:
            as_it_was = self._taker.take(entry)
            self._took = True
        except (FileNotFoundError, TreeChangedError):
            as_it_was = self._took = False
            self._drop_stale(entry)
        if not as_it_was:
            self._changed(entry.path)
        return as_it_was

    def _drop_stale(self, entry: Entry) -> None:
        """Let the list name nothing of what could not be taken: what it named before may be gone."""
        if not self._first and not entry.is_directory:
            self._drop(entry.path)

    def _take_link(self, entry: Entry, first: bytes) -> None:
        try:
            self._taker.take_link(entry, first)
        except (FileNotFoundError, TreeChangedError):
            self._drop_stale(entry)
            self._changed(entry.path)

    def _changed(self, path: bytes) -> None:
        self.tally.changed.append(path)
        self._untrusted += 1

    def _count(self, status: os.stat_result) -> None:
        """Count the content of a file that was not counted under another name."""
        if stat.S_ISREG(status.st_mode):
            self.tally.size_bytes += status.st_size
            self.tally.allocated_bytes += data_bytes(status)

    def _believed(self, status: os.stat_result, version: int) -> int:
        """Return *version*, by which the next pass knows the entry again unless it has changed too lately."""
        if self._since_ns is None or status.st_ctime_ns < self._since_ns:
            return version
        self._untrusted += 1
        self._untrusted_bytes += data_bytes(status) if stat.S_ISREG(status.st_mode) else 0
        return _UNKNOWN

    def _drop(self, path: bytes) -> None:
        self._dropped.add(path)
        self._taker.drop(path, below=path in self._copy.known)
        to_do = [path]
        while to_do:
            each = to_do.pop()
            known = self._copy.known.pop(each, None)
            if known is not None:
                to_do += [each + b"/" + os.fsencode(name) for name in known.entries]

    def _refuse_what_cannot_be(self) -> None:
        if self._mounts:
            require_no_mounts_below(self._copy.source)
            raise TreeChangedError("something was mounted inside while it was cut")
        for problem in self._problems:
            if problem.reason != REPLACED:
                raise NonRecoverableError(
                    f"not everything can be read: {self._problems}",
                    hint="Let the user that runs quiesce read it.",
                )
            self._changed(problem.path)

    def _compare_directories(self) -> None:
        for path, status in self._met:
            try:
                descriptor = self._passage(path)
            except OSError:
                self.tally.changed.append(path)
                continue
            try:
                if version_of(os.fstat(descriptor)) != version_of(status):
                    self.tally.changed.append(path or b".")
            finally:
                os.close(descriptor)


def cut_tree(source: int, directory: int, name: bytes, progress: Progress) -> CutTally:
    """Take the tree at *source* into the new directory *name* of *directory*, as it is now.

    Raises:
        MountInsideError: when anything is mounted inside *source*.
    """
    copy = TreeCopy(source, directory, name, progress)
    try:
        return copy.finish(progress)
    finally:
        copy.close()


def _version(status: os.stat_result) -> int:
    return hash((status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)) or 1
