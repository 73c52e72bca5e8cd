"""System calls that `os` lacks: openat2, renameat2, the mount id of statx, syncfs, inode flags."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import platform
import struct
from typing import Final

RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2

_NR_OPENAT2: Final = 437
_HOW_SIZE: Final = 24
_NR_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276, "ppc64le": 357, "s390x": 347, "riscv64": 276}

_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
#: nothing but plain names below the directory: no link, no way up, no other mount
BENEATH: Final = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
#: no link anywhere; mounts and the root are fine
WITHOUT_LINKS: Final = _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS

_AT_EMPTY_PATH: Final = 0x1000
_STATX_MNT_ID: Final = 0x1000
_STATX_SIZE: Final = 256
_STATX_MNT_ID_OFFSET: Final = 0x90

_CLONE_NEWNS: Final = 0x20000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 0x40000

_FS_IOC_GETFLAGS: Final = 0x80086601
_FS_IOC_SETFLAGS: Final = 0x40086602

_libc = ctypes.CDLL(None, use_errno=True)
# bound twice: declared argument types make the one that is called for every file quick
_openat2 = _libc["syscall"]
_openat2.restype = ctypes.c_long
_openat2.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)


def openat2(directory: int, path: bytes, flags: int, *, mode: int = 0, resolve: int) -> int:
    """Return a new descriptor, never inherited; see openat2(2). Only where `has_openat2`."""
    how = _how(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        descriptor: int = _openat2(_NR_OPENAT2, directory, path, how, _HOW_SIZE)
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        # EAGAIN: somebody renamed a directory while the kernel looked; the next look is as safe
        if number not in {errno.EINTR, errno.EAGAIN}:
            raise _error(number, path)


@functools.cache
def has_openat2() -> bool:
    """Tell whether this kernel has openat2 (5.6), and nothing like seccomp forbids it."""
    try:
        os.close(openat2(-100, b"/", os.O_PATH, resolve=WITHOUT_LINKS))
    except OSError:
        return False
    return True


def renameat2(directory: int, name: bytes, to_directory: int, to_name: bytes, flags: int) -> None:
    """Rename *name*, or exchange the two; see renameat2(2).

    Raises:
        OSError: EINVAL or ENOSYS where the file system or the kernel cannot do it.
    """
    arguments = (ctypes.c_int(directory), name, ctypes.c_int(to_directory), to_name, ctypes.c_uint(flags))
    if hasattr(_libc, "renameat2"):
        result = _libc.renameat2(*arguments)
    elif platform.machine() in _NR_RENAMEAT2:
        result = _libc.syscall(ctypes.c_long(_NR_RENAMEAT2[platform.machine()]), *arguments)
    else:
        raise _error(errno.ENOSYS, name)
    if result != 0:
        raise _error(ctypes.get_errno(), name)


def mount_id(descriptor: int) -> int:
    """Return the id of the mount that an open file lies on; bind mounts of one device have one each."""
    if _has_statx_mount_id():
        return _statx_mount_id(descriptor)
    return _fdinfo_mount_id(descriptor)


def sync_file_system(descriptor: int) -> None:
    """Make everything on the file system of an open file durable."""
    if _libc.syncfs(ctypes.c_int(descriptor)) != 0:
        raise _error(ctypes.get_errno(), b"syncfs")


def mount_privately(directory: int, at: bytes) -> None:
    """Mount an open directory at the path *at*, for this process and its children alone.

    Raises:
        OSError: EPERM without the right to mount (``CAP_SYS_ADMIN``), as in many containers.
    """
    os.fchdir(directory)  # a descriptor stays among the mounts of all; the working directory comes along
    if _libc.unshare(ctypes.c_int(_CLONE_NEWNS)) != 0:
        raise _error(ctypes.get_errno(), at)
    _mount(b"none", b"/", _MS_REC | _MS_PRIVATE)
    _mount(b".", at, _MS_BIND)
    os.chdir("/")


def _mount(source: bytes, target: bytes, flags: int) -> None:
    if _libc.mount(source, target, None, ctypes.c_ulong(flags), None) != 0:
        raise _error(ctypes.get_errno(), target)


def inode_flags(descriptor: int) -> int:
    """Return the flags of an open file or directory that lsattr(1) shows.

    Raises:
        OSError: ENOTTY or EOPNOTSUPP where the file system has none.
    """
    buffer = bytearray(8)
    fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, buffer)
    flags: int = struct.unpack_from("i", buffer)[0]
    return flags & 0xFFFFFFFF


def set_inode_flags(descriptor: int, flags: int) -> None:
    """Set the flags of an open file or directory as chattr(1) does."""
    fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, struct.pack("Ii", flags, 0))


@functools.cache  # the kernel only reads it
def _how(flags: int, mode: int, resolve: int) -> ctypes.Array[ctypes.c_char]:
    how = struct.pack("QQQ", flags, mode, resolve)
    return ctypes.create_string_buffer(how, len(how))


@functools.cache
def _has_statx_mount_id() -> bool:
    try:
        descriptor = os.open("/", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return hasattr(_libc, "statx") and _statx_mount_id(descriptor) >= 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _statx_mount_id(descriptor: int) -> int:
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if _libc.statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_MNT_ID, buffer) != 0:
        raise _error(ctypes.get_errno(), b"statx")
    mask, found = struct.unpack_from("I", buffer)[0], struct.unpack_from("Q", buffer, _STATX_MNT_ID_OFFSET)[0]
    if not mask & _STATX_MNT_ID:
        raise _error(errno.ENOSYS, b"statx")
    return int(found)


def _fdinfo_mount_id(descriptor: int) -> int:
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    raise _error(errno.ENOSYS, b"fdinfo")


def _error(number: int, path: bytes) -> OSError:
    return OSError(number, os.strerror(number), os.fsdecode(path))
