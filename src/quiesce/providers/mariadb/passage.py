"""How mariadb-backup, run as the server's user, gets to its copies and to the server."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Final

from quiesce.files.held import held_path
from quiesce.isolation.run import private_directory
from quiesce.provider_kit.server_user import ServerUser
from quiesce.providers.mariadb.client import reach
from quiesce.providers.mariadb.options import MariaDBOptions
from quiesce.providers.mariadb.relay import Relay

_COPIES: Final = "copies"
#: others may go through, and list nothing
_PASSED: Final = 0o711
#: how long it may take to reach the server, in seconds
_REACH_S: Final = 30.0


class Passage:
    """A directory of ours through which that user can go.

    A server may ask the kernel which user of the system has connected (``unix_socket``). It sees us, as it
    does in every other session of ours: the program's socket leads to the server's by way of us.
    """

    def __init__(self, user: ServerUser, options: MariaDBOptions, copies: Path) -> None:
        """*copies* is where they are for us."""
        self._until_closed = contextlib.ExitStack()
        try:
            place = Path(self._until_closed.enter_context(private_directory()))
            self.copies = self._place_of(copies, place)
            place.chmod(_PASSED)
            self.relay = Relay(place, lambda: reach(options, _REACH_S))
            self._until_closed.callback(self.relay.close)
            self.relay.path.chmod(0o600)
            user.take_path(self.relay.path)
            #: a descriptor of a file without a name, which says how to log in
            self.login = os.memfd_create("login")
            self._until_closed.callback(os.close, self.login)
            os.write(self.login, _options_file(options, self.relay.path))
            os.fchmod(self.login, 0o400)
            user.take(self.login)
        except BaseException:
            self.close()
            raise

    @property
    def login_option(self) -> str:
        """What tells mariadb-backup how to log in."""
        return f"--defaults-file={held_path(self.login)}"

    def close(self) -> None:
        """End all connections, and remove the directory."""
        self._until_closed.close()

    def _place_of(self, copies: Path, place: Path) -> Path:
        """Return where the program finds the copies: mounted, unless it can go to them itself."""
        if os.geteuid() == 0:
            (place / _COPIES).mkdir()
        else:
            (place / _COPIES).symlink_to(copies)
        return place / _COPIES


def _options_file(options: MariaDBOptions, socket: Path) -> bytes:
    # the relay reads what is said; it comes no further than this machine
    out = io.StringIO("[mariadb-backup]\nskip-ssl\n")
    out.seek(0, io.SEEK_END)
    told = {"user": options.user, "password": options.password or "", "socket": str(socket)}
    for name, value in {**told, "protocol": "socket"}.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        out.write(f'{name}="{escaped}"\n')
    return out.getvalue().encode()
