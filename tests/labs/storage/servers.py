"""Servers that keep objects, on the loopback; and what their storages look like from outside."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
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


@dataclass(kw_only=True)
class Azure:
    """Azurite's blobs, and requests of our own to look into them."""

    server: Server
    account: str = "devstoreaccount1"
    key: str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/{self.account}"

    def make_container(self) -> str:
        name = f"container-{uuid.uuid4().hex[:12]}"
        self.ask("PUT", name, {"restype": "container"})
        return name

    def open(self, container: str) -> Storage:
        url = f"az://{container}/deep/place?account={self.account}&endpoint={self.endpoint}&credentials=az"
        return open_storage(
            url, lambda _: f'{{"account_key": "{self.key}"}}', patience=Patience(first_pause_s=0.01)
        )

    def ask(self, method: str, path: str, query: dict[str, str], body: bytes | None = None) -> bytes:
        """Make one request, signed as Microsoft's page on Shared Key says."""
        now = dt.datetime.now(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-ms-date": now, "x-ms-version": "2021-08-06"}
        kind = "application/octet-stream" if body is not None else ""
        if body is not None:
            headers["x-ms-blob-type"] = "BlockBlob"
        path = urllib.parse.quote(path)
        signed = [method, "", "", str(len(body or b"") or ""), "", kind, *[""] * 6]
        signed += [f"{name}:{value}" for name, value in sorted(headers.items())]
        signed.append(f"/{self.account}/{self.account}/{path}")
        signed += [f"{name}:{value}" for name, value in sorted(query.items())]
        digest = hmac.new(base64.b64decode(self.key), "\n".join(signed).encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"
        if body is not None:
            headers["Content-Type"] = kind
        url = f"{self.endpoint}/{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request) as answer:
            content: bytes = answer.read()
        return content


class ContainerPlace(Place):
    """A new container of Azurite."""

    def __init__(self, azure: Azure) -> None:
        self.azure = azure
        self.container = azure.make_container()

    def storage(self) -> Storage:
        return self.azure.open(self.container)

    def plant(self, path: str, data: bytes) -> None:
        self.azure.ask("PUT", f"{self.container}/deep/place/{path}", {}, data)

    def contents(self) -> dict[str, bytes]:
        listing = self.azure.ask("GET", self.container, {"restype": "container", "comp": "list"})
        names = re.findall(r"<Name>deep/place/([^<]+)</Name>", listing.decode())
        return {name: self.azure.ask("GET", f"{self.container}/deep/place/{name}", {}) for name in names}


@contextlib.contextmanager
def azurite(directory: Path) -> Iterator[Azure]:
    """Run Azurite's blob service until the block ends."""
    program = Path(__file__).parents[3] / ".lab" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        pytest.skip("azurite is not installed: make test-storage, with npm")
    port = free_port()
    options = ["--blobPort", str(port), "--silent", "--skipApiVersionCheck", "--inMemoryPersistence"]
    server = Server(command=[str(program), *options], port=port, log=directory / "azurite.log")
    try:
        server.start()
        yield Azure(server=server)
    finally:
        server.end()


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
