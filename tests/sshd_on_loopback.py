"""A real sshd on a high port of the loopback, for the user that runs the tests."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or (shutil.which("sshd", path="/usr/sbin:/usr/local/sbin"))
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh-keygen") is None, reason="openssh-server is not installed"
)


@dataclass(frozen=True, kw_only=True)
class Server:
    user: str
    port: int
    key_content: str
    known_hosts: str
    process: subprocess.Popen[bytes]

    @property
    def auth(self) -> dict[str, object]:
        """What a blueprint writes as terminal_auth."""
        return {
            "user": self.user,
            "ip": "127.0.0.1",
            "port": self.port,
            "key_content": self.key_content,
            "known_hosts": self.known_hosts,
        }


@contextmanager
def sshd(directory: Path, *options: str) -> Iterator[Server]:
    """Run sshd until the block ends; *options* are lines of its configuration."""
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True
        )
    shutil.copy(directory / "user.pub", directory / "authorized_keys")
    port = _free_port()
    (directory / "config").write_text("\n".join([*_CONFIG, *options]).format(d=directory, port=port) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    key = " ".join((directory / "host.pub").read_text().split()[:2])
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    process = subprocess.Popen(
        [str(SSHD), "-D", "-e", "-f", str(directory / "config")], stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield Server(
            user=getpass.getuser(),
            port=port,
            key_content=(directory / "user").read_text(),
            known_hosts=str(directory / "known_hosts"),
            process=process,
        )
    finally:
        process.terminate()
        process.wait()


_CONFIG = (
    "Port {port}",
    "ListenAddress 127.0.0.1",
    "HostKey {d}/host",
    "AuthorizedKeysFile {d}/authorized_keys",
    "PidFile {d}/pid",
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "PermitRootLogin prohibit-password",
    "MaxStartups 100",
)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("sshd does not answer")
