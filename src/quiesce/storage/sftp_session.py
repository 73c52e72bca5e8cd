"""One SFTP session and the extensions of OpenSSH that storage needs; knows paramiko, as `sftp` does."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Final

import paramiko
from paramiko.sftp import CMD_EXTENDED, CMD_EXTENDED_REPLY, CMD_INIT, CMD_VERSION

_VERSION: Final = 3
_POSIX_RENAME: Final = "posix-rename@openssh.com"
_HARD_LINK: Final = "hardlink@openssh.com"
_FSYNC: Final = "fsync@openssh.com"
_STATVFS: Final = "statvfs@openssh.com"
#: of statvfs's answer: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail
_STATVFS_HEAD: Final = struct.Struct(">QQQQQ")


class SftpSession(paramiko.SFTPClient):
    """A session that knows what its server can do beside the protocol."""

    extensions: frozenset[str] = frozenset()

    if TYPE_CHECKING:
        # of the base class, which its stubs leave out

        def _request(self, kind: int, *arguments: object) -> tuple[int, paramiko.Message]: ...

        def _send_packet(self, kind: int, packet: paramiko.Message) -> None: ...

        def _read_packet(self) -> tuple[int, bytes]: ...

    @property
    def replaces(self) -> bool:
        """Whether a file can be renamed over another in one step."""
        return _POSIX_RENAME in self.extensions

    @property
    def links(self) -> bool:
        """Whether a file can be given a second name, which fails where that name is taken."""
        return _HARD_LINK in self.extensions

    def link(self, path: str, new_path: str) -> None:
        """Give a file a second name."""
        self._request(CMD_EXTENDED, _HARD_LINK, path.encode(), new_path.encode())

    def sync(self, file: paramiko.SFTPFile) -> None:
        """Write an open file, or directory, to the server's disk, where the server can be told so."""
        if _FSYNC in self.extensions:
            self._request(CMD_EXTENDED, _FSYNC, file.handle)

    def sync_directory(self, path: str) -> None:
        """Write a directory's entries to the disk, where the server opens directories like files."""
        if _FSYNC in self.extensions:
            with contextlib.suppress(OSError), self.open(path or ".", "r") as directory:
                self.sync(directory)

    def free_bytes(self, path: str) -> int | None:
        """Return the room that is left for this user; None where the server does not say."""
        if _STATVFS not in self.extensions:
            return None
        kind, message = self._request(CMD_EXTENDED, _STATVFS, (path or ".").encode())
        if kind != CMD_EXTENDED_REPLY:
            return None
        _, unit_bytes, _, _, available = _STATVFS_HEAD.unpack(message.get_bytes(_STATVFS_HEAD.size))
        return int(unit_bytes * available)

    def _send_version(self) -> int:
        """Greet as the base class does, and keep what the server says that it can, which that one drops."""
        greeting = paramiko.Message()
        greeting.add_int(_VERSION)
        self._send_packet(CMD_INIT, greeting)
        kind, data = self._read_packet()
        if kind != CMD_VERSION:
            raise paramiko.SFTPError("incompatible SFTP protocol")
        answer = paramiko.Message(data)
        version = answer.get_int()
        names = set()
        while answer.get_remainder():
            names.add(answer.get_string().decode(errors="replace"))
            answer.get_string()
        self.extensions = frozenset(names)
        return version


def is_alive(session: SftpSession) -> bool:
    """Tell whether the connection still stands, as far as can be seen from here."""
    channel = session.get_channel()
    return channel is not None and not channel.closed and channel.get_transport().is_active()


def hang_up(session: SftpSession) -> None:
    """End the session and its connection."""
    with contextlib.suppress(Exception):
        channel = session.get_channel()
        if channel is not None:
            channel.get_transport().close()
