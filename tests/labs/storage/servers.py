"""Servers that keep objects, on the loopback; and what their storages look like from outside."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from quiesce.model.stored_object import ObjectName
from quiesce.ports import Storage
from quiesce.storage import Patience, RetryingStorage, open_storage, parse_url
from quiesce.testing import Place

SECRET = '{"access_key_id": "quiesce", "secret_access_key": "quiesce-secret"}'
#: moto wants to be told what AWS sees by itself: that a checksum goes with the request
MOTO_HEADERS = {"x-amz-sdk-checksum-algorithm": "SHA256"}


@dataclass(kw_only=True)
class Server:
    """A process that listens on a port, and can be killed and started again."""

    command: list[str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)
        self.wait()

    def wait(self, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self.command[0]} does not listen:\n{self.log.read_text()[-2000:]}")

    def wait_for_http(self, seconds: float = 60) -> None:
        """Wait for an answer, whatever it is: what listens does not always answer yet."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            with contextlib.suppress(OSError), contextlib.closing(connection):
                connection.request("GET", "/")
                connection.getresponse().read()
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.command[0]} does not answer:\n{self.log.read_text()[-2000:]}")

    def end(self) -> None:
        """Ask it to end, so that it can end what it started."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(kw_only=True)
class S3:
    """An S3 server, and a client of its own to look into it."""

    server: Server
    headers: dict[str, str] = field(default_factory=dict)
    access_key: str = "quiesce"
    secret_key: str = "quiesce-secret"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def client(self, endpoint: str | None = None) -> Any:
        boto3 = pytest.importorskip("boto3")
        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def make_bucket(self, *, locked_days: int = 0) -> str:
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=bool(locked_days))
        if locked_days:
            rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": locked_days}}
            client.put_object_lock_configuration(
                Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
            )
        return name

    def open(self, bucket: str, *, port: int | None = None, patience: Patience | None = None) -> Storage:
        from quiesce.storage.bucket_clients import open_bucket

        endpoint = f"http://127.0.0.1:{port or self.server.port}"
        url = f"s3://{bucket}/deep/place?endpoint={endpoint}&region=us-east-1&credentials=s3"
        secret = f'{{"access_key_id": "{self.access_key}", "secret_access_key": "{self.secret_key}"}}'
        storage = open_bucket(parse_url(url), secret, headers=self.headers)
        # as it is used; moto, for one, answers 500 where two put the same object at one time
        return RetryingStorage(storage, patience=patience or Patience(first_pause_s=0.01))


class BucketPlace(Place):
    """A new bucket of a server; with *port* reached through a proxy."""

    def __init__(self, s3: S3, bucket: str) -> None:
        self.s3 = s3
        self.bucket = bucket

    def storage(self) -> Storage:
        return self.s3.open(self.bucket)

    def through(self, port: int, patience: Patience) -> Storage:
        return self.s3.open(self.bucket, port=port, patience=patience)

    def plant(self, path: str, data: bytes) -> None:
        self.s3.client().put_object(Bucket=self.bucket, Key=f"deep/place/{path}", Body=data)

    def contents(self) -> dict[str, bytes]:
        client = self.s3.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {
            key.removeprefix("deep/place/"): client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            for key in keys
        }


@contextlib.contextmanager
def moto(directory: Path) -> Iterator[S3]:
    """Run moto's S3 until the block ends."""
    pytest.importorskip("moto.server", reason="moto[server] is not installed: make test-storage")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p"]
    port = free_port()
    server = Server(command=[*command, str(port)], port=port, log=directory / "moto.log")
    server.start()
    try:
        yield S3(server=server, headers=MOTO_HEADERS)
    finally:
        server.kill()


@contextlib.contextmanager
def radosgw(directory: Path) -> Iterator[S3]:
    """Run a Ceph in memory and its S3 gateway until the block ends."""
    for name in ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph"):
        tool(name)
    if os.geteuid():
        pytest.skip("Ceph's daemons want root")
    directory.mkdir(exist_ok=True)
    port = free_port()
    command = [str(Path(__file__).with_name("radosgw.sh")), str(directory), str(port), str(_two_free_ports())]
    server = Server(command=command, port=port, log=directory / "up.log")
    try:
        server.start()
        server.wait_for_http()
        yield S3(server=server)
    finally:
        server.end()


def _two_free_ports() -> int:
    while True:
        port = free_port()
        with socket.socket() as next_one, contextlib.suppress(OSError):
            next_one.bind(("127.0.0.1", port + 1))
            return port


def tool(name: str) -> str:
    """Return a program's path, or skip the test by its name."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class SftpPlace(Place):
    """A directory behind a real sshd of this machine."""

    def __init__(self, server: Any, path: Path) -> None:
        self.server = server
        self.path = path

    def url(self, port: int | None = None) -> str:
        server = self.server
        return (
            f"sftp://{server.user}@127.0.0.1:{port or server.port}{self.path}"
            f"?credentials=key&known_hosts={server.known_hosts}"
        )

    def storage(self) -> Storage:
        from quiesce.storage.sftp import open_sftp

        return open_sftp(parse_url(self.url()), self.server.key_content)

    def through(self, port: int, patience: Patience) -> Storage:
        url = self.url(port)
        known = Path(self.server.known_hosts)
        _, key = known.read_text().splitlines()[0].split(maxsplit=1)
        with known.open("a") as hosts:
            hosts.write(f"[127.0.0.1]:{port} {key}\n")
        return open_storage(url, lambda _: self.server.key_content, patience=patience)

    def plant(self, path: str, data: bytes) -> None:
        planted = self.path / path
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_bytes(data)

    def contents(self) -> dict[str, bytes]:
        found = (path for path in self.path.rglob("*") if path.is_file())
        return {str(path.relative_to(self.path)): path.read_bytes() for path in found}

    def leave_unfinished(self, name: ObjectName) -> None:
        folder, _, last = name.rpartition("/")
        self.plant(f"{folder}/.{last}.0123abcd.quiesce-new", b"half of")
        long_ago = time.time() - 2 * 86400
        os.utime(self.path / folder / f".{last}.0123abcd.quiesce-new", (long_ago, long_ago))
