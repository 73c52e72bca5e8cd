"""What a file is besides its content: owner, mode, times, extended attributes, inode flags."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.files.problems import TreeProblems
from quiesce.files.system_calls import inode_flags, set_inode_flags

IMMUTABLE: Final = 0x10
APPEND_ONLY: Final = 0x20
#: what keeps a file from being changed or removed, by root too
LOCKING: Final = IMMUTABLE | APPEND_ONLY
#: has effect on an empty file only
_NO_COPY_ON_WRITE: Final = 0x0080_0000
#: those that somebody set, not those by which a file system tells how it stores a file: secure deletion,
#: undelete, compressed, synchronous (also of a directory), locking, no dump, no access times, top
#: directory, not copied on write, project inherited
KEPT_FLAGS: Final = 0x1 | 0x2 | 0x4 | 0x8 | LOCKING | 0x40 | 0x80 | 0x1_0000 | 0x2_0000 | 0x2080_0000
CAPABILITY: Final = b"security.capability"
DEFAULT_ACL: Final = b"system.posix_acl_default"
ACCESS_ACL: Final = b"system.posix_acl_access"

_EVERYWHERE_UNTIL_NS: Final = (2**31 - 1) * 10**9
_SET_ID: Final = stat.S_ISUID | stat.S_ISGID
_NONE_THERE: Final = {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF}
_NOT_KEPT: Final = {errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Everything of a file that is to come back with it, but its name and content."""

    #: kind and permissions
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    #: names and values as the kernel has them, access control lists and capabilities among them
    attributes: Mapping[bytes, bytes] = field(default_factory=dict)
    #: of `KEPT_FLAGS`
    flags: int = 0

    @classmethod
    def of_descriptor(cls, descriptor: int) -> Metadata:
        """Return what an open file has now; also one that was opened only to be looked at.

        Raises:
            OSError: when it cannot be read; nothing is left out unsaid.
        """
        status = os.fstat(descriptor)
        readable = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        return cls(
            mode=status.st_mode,
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
            attributes=read_attributes(descriptor if readable else b"/proc/self/fd/%d" % descriptor),
            flags=read_flags(descriptor) if readable else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What of a stored tree may come back although it gives rights; left out otherwise, and said."""

    #: character and block devices
    devices: bool = False
    #: set-user-ID and set-group-ID of files (of directories it gives no rights)
    set_id: bool = False
    #: file capabilities
    capabilities: bool = False


EVERYTHING: Final = Allowed(devices=True, set_id=True, capabilities=True)


def gives_rights(metadata: Metadata) -> bool:
    """Tell whether an entry comes back as it was only where `Allowed` says so."""
    kind = stat.S_IFMT(metadata.mode)
    set_id = metadata.mode & _SET_ID and kind != stat.S_IFDIR
    return bool(set_id) or kind in {stat.S_IFCHR, stat.S_IFBLK} or CAPABILITY in metadata.attributes


def read_attributes(where: int | bytes) -> dict[bytes, bytes]:
    """Return the extended attributes of an open file, or of a path that is followed to its end."""
    found: dict[bytes, bytes] = {}
    try:
        names = os.listxattr(where)
    except OSError as error:
        if error.errno in _NONE_THERE:
            return found
        raise
    for name in map(os.fsencode, names):
        try:
            found[name] = os.getxattr(where, name)
        except OSError as error:
            # removed meanwhile, or one that is listed but is nobody's to read
            if error.errno not in {errno.ENODATA, errno.EOPNOTSUPP}:
                raise
    return found


def read_flags(descriptor: int) -> int:
    """Return the flags that somebody set on an open file or directory; none where there are none."""
    try:
        return inode_flags(descriptor) & KEPT_FLAGS
    except OSError as error:
        if error.errno in _NONE_THERE:
            return 0
        raise


class Restorer:
    """Gives files their metadata back, and notes what could not be, or may not be, restored."""

    def __init__(self, allowed: Allowed, problems: TreeProblems) -> None:
        self._allowed = allowed
        self._problems = problems

    def prepare(self, descriptor: int, metadata: Metadata, path: bytes) -> None:
        """Give an empty file the flag that has effect only before there is content."""
        if metadata.flags & _NO_COPY_ON_WRITE:
            self._give_flags(descriptor, _NO_COPY_ON_WRITE, path)

    def give(self, where: int | bytes, metadata: Metadata, path: bytes) -> None:
        """Give a file of ours everything but its locking flags.

        *where* is its descriptor, or for what cannot be opened a path that names it and no other.
        """
        self._give_owner(where, metadata, path)
        if metadata.attributes:
            self._give_attributes(where, metadata.attributes, path)
        if not stat.S_ISLNK(metadata.mode):
            os.chmod(where, self._allowed_mode(metadata.mode, path))
        self._give_time(where, metadata.mtime_ns, path)
        if isinstance(where, int) and metadata.flags & ~LOCKING:
            self._give_flags(where, metadata.flags & ~LOCKING, path)

    def lock(self, descriptor: int, flags: int, path: bytes) -> None:
        """Make an open file immutable or append-only again: nothing can be done with it afterwards."""
        self._give_flags(descriptor, flags & LOCKING, path)

    def _give_owner(self, where: int | bytes, metadata: Metadata, path: bytes) -> None:
        try:
            os.chown(where, metadata.uid, metadata.gid)
        except OSError as error:
            self._not_kept(path, "owner", error)

    def _give_time(self, where: int | bytes, mtime_ns: int, path: bytes) -> None:
        os.utime(where, ns=(mtime_ns, mtime_ns))
        # every file system holds these; the kernel puts others to the nearest that it does, unsaid
        if not 0 <= mtime_ns < _EVERYWHERE_UNTIL_NS and os.stat(where).st_mtime_ns != mtime_ns:
            self._problems.add(path, "the file system cannot hold its time")

    def _give_attributes(self, where: int | bytes, attributes: Mapping[bytes, bytes], path: bytes) -> None:
        for name, value in attributes.items():
            if name == CAPABILITY and not self._allowed.capabilities:
                self._problems.add(path, "capabilities are not allowed here and were left out")
                continue
            try:
                os.setxattr(where, name, value)
            except OSError as error:
                self._not_kept(path, "extended attribute " + os.fsdecode(name), error)

    def _allowed_mode(self, mode: int, path: bytes) -> int:
        if mode & _SET_ID and not self._allowed.set_id and not stat.S_ISDIR(mode):
            self._problems.add(path, "set-user-ID and set-group-ID are not allowed here and were left out")
            mode &= ~_SET_ID
        return stat.S_IMODE(mode)

    def _give_flags(self, descriptor: int, flags: int, path: bytes) -> None:
        try:
            set_inode_flags(descriptor, inode_flags(descriptor) | flags)
        except OSError as error:
            self._not_kept(path, "inode flags", error)

    def _not_kept(self, path: bytes, what: str, error: OSError) -> None:
        if error.errno not in _NOT_KEPT:
            raise error
        self._problems.add(path, OSError(error.errno, f"{what} not restored: {error.strerror}"))
