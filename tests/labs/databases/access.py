"""Certificates of an authority made for one test, and a way by SSH."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.sshd_on_loopback import Server


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files that everybody reads; keys are readable by everybody, too, but for `key_of`."""

    directory: Path

    @property
    def authority(self) -> Path:
        """Who vouches for all others."""
        return self.directory / "authority.crt"

    def of(self, name: str) -> Path:
        """Return the certificate of *name*."""
        return self.directory / f"{name}.crt"

    def key_of(self, name: str, owner: tuple[int, int] | None = None) -> Path:
        """Return the key of that certificate, which only its owner reads."""
        key = self.directory / f"{name}.key"
        if owner is not None:
            shutil.chown(key, *owner)
        key.chmod(0o600)
        return key


def certificates(directory: Path) -> Certificates:
    """Make an authority that vouches for ``server`` (localhost) and ``client``, and not for ``other``."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    directory.mkdir(mode=0o755)

    def make(name: str, subject: str, *words: str) -> None:
        asked = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", subject]
        files = ["-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt"]
        subprocess.run([*asked, *files, *words], check=True, capture_output=True)
        (directory / f"{name}.crt").chmod(0o644)

    signed = ["-CA", f"{directory}/authority.crt", "-CAkey", f"{directory}/authority.key"]
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
    make("authority", "/CN=authority")
    make("server", "/CN=localhost", *signed, *leaf, "-addext", "subjectAltName=DNS:localhost")
    make("client", "/CN=quiesce", *signed, *leaf)
    make("other", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    return Certificates(directory=directory)


def ssh_properties(server: Server, directory: Path) -> dict[str, str]:
    """Return the properties of a node that is reached by way of *server*, with a configuration of ssh's."""
    configuration = directory / "ssh_config"
    configuration.write_text(
        f"Host way\n HostName 127.0.0.1\n Port {server.port}\n User {server.user}\n"
        f" IdentityFile {directory}/user\n IdentitiesOnly yes\n UserKnownHostsFile {server.known_hosts}\n"
    )
    return {"ssh": "way", "ssh_config": str(configuration)}
