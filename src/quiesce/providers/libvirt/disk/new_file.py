"""A new file that has no name until it is whole: what is cut off, by whatever, leaves nothing behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

#: said by file systems that have no files without a name, such as NFS
_NAMES_ONLY: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})


class NewFile:
    """A private file that will be at *path*; until then it goes with the process that writes it.

    Where the file system has no files without a name, it has its name from the beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._named = False
        try:
            self.descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NAMES_ONLY:
                raise
            self._named = True
            path.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.descriptor = os.open(path, flags, 0o600)

    @property
    def opened(self) -> Path:
        """A path by which this process opens it once more, with or without a name."""
        return Path(f"/proc/self/fd/{self.descriptor}")

    def give_name(self) -> None:
        """Let it be at its path; what is left there of an earlier one goes."""
        if not self._named:
            self.path.unlink(missing_ok=True)
            # with a directory's descriptor, which an absolute path passes over, the link is followed
            os.link(self.opened, self.path, src_dir_fd=self.descriptor)
            self._named = True

    def close(self) -> None:
        """Let go of it; where it has its name, that goes too."""
        os.close(self.descriptor)
        if self._named:
            self.path.unlink(missing_ok=True)
