"""Moving disks over HTTPS: leases to read and write whole ones, and the file service to read parts."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

from quiesce.errors import NonRecoverableError, OperationTimeoutError, RecoverableError, UnsupportedError
from quiesce.model.ids import Json
from quiesce.providers.vsphere.center import Area, Patience, Upload
from quiesce.providers.vsphere.errors import of_fault, translated
from quiesce.providers.vsphere.sdk import id_of
from quiesce.providers.vsphere.session import Session

_PIECE_BYTES: Final = 1 << 20
_SOCKET_S: Final = 60.0
#: how often we are heard from at least, so that the lease does not end by itself
_KEEP_ALIVE_S: Final = 30.0
_READY_S: Final = 120.0
_DEVICE_KEY: Final = re.compile(r"/(?P<kind>[A-Za-z]+)(?P<bus>\d+):(?P<unit>\d+)$")
_FILE: Final = re.compile(r"\[(?P<datastore>[^\]]+)\] (?P<path>.+)\.vmdk")

#: what is known of a machine's hardware: finds a disk's key from the name of its place
Hardware = Mapping[str, Json]


class Lease:
    """An NFC lease; use it in a ``with`` block, which completes or aborts it."""

    def __init__(self, session: Session, lease: Any, hardware: Hardware) -> None:
        self._session = session
        self._lease = lease
        self._hardware = hardware
        self._urls: dict[int, Any] = {}
        self._told = time.monotonic()
        self._keep_alive_s = _KEEP_ALIVE_S
        self._manifest: dict[str, str] | None = None

    def __enter__(self) -> Self:
        try:
            self._await_ready()
        except BaseException:
            self._abort()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._abort()
            return
        self._session.change("end a transfer", lambda _: self._lease.Complete())

    @property
    def machine(self) -> str:
        """The id of the machine that is read or made."""
        return id_of(self._info().entity)

    def keys(self) -> Sequence[int]:
        """Return the keys of the disks that can be read or are to be written."""
        return list(self._urls)

    @contextlib.contextmanager
    def open(self, key: int) -> Iterator[Iterator[bytes]]:
        """Return the stream-optimised VMDK of one disk, in pieces."""
        if key not in self._urls:
            raise UnsupportedError(f"vSphere does not hand out the disk {key}")
        url = self._urls[key]
        with translated("read a disk"), contextlib.closing(self._connection(url)) as connection:
            connection.request("GET", _path_of(url.url), headers={"Cookie": self._session.cookie})
            response = connection.getresponse()
            _expect(response, {200}, "read a disk")
            yield self._pieces(response)

    def sha1(self, key: int) -> str | None:
        """Return the platform's own checksum of what was read; None when it has none."""
        if self._manifest is None:
            entries = self._session.read("check a disk", lambda _: self._lease.GetManifest())
            self._manifest = {one.key: str(one.sha1) for one in entries or () if one.sha1}
        url = self._urls[key]
        return self._manifest.get(url.key) or self._manifest.get(url.targetId or "")

    def write(self, key: int, upload: Upload, patience: Patience) -> None:
        """Send the stream-optimised VMDK of one disk."""
        url = self._urls[key]
        headers = {
            "Content-Type": "application/x-vnd.vmware-streamVmdk",
            "Content-Length": str(upload.size_bytes),
            "Overwrite": "t",
            "Cookie": self._session.cookie,
        }
        with translated("write a disk"), contextlib.closing(self._connection(url)) as connection:
            connection.request("POST", _path_of(url.url), self._outgoing(upload, patience), headers)
            _expect(connection.getresponse(), {200, 201}, "write a disk")

    def _outgoing(self, upload: Upload, patience: Patience) -> Iterator[bytes]:
        while piece := upload.stream.read(_PIECE_BYTES):
            if patience.given_up() or patience.remaining_s() <= 0:
                raise OperationTimeoutError("the disks were not written in time")
            self._keep_alive()
            yield piece

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while piece := response.read(_PIECE_BYTES):
            self._keep_alive()
            yield piece

    def _keep_alive(self) -> None:
        if time.monotonic() - self._told > self._keep_alive_s:
            self._told = time.monotonic()
            self._session.change("keep a transfer alive", lambda _: self._lease.Progress(50))

    def _await_ready(self) -> None:
        ends = time.monotonic() + _READY_S
        while (state := str(self._property("state"))) == "initializing":
            if time.monotonic() > ends:
                raise OperationTimeoutError("vSphere did not get a transfer ready in time")
            time.sleep(0.1)
        if state != "ready":
            raise of_fault(self._property("error") or RuntimeError(state), "get a transfer ready")
        self._urls = dict(self._keyed_urls())

    def _keyed_urls(self) -> Iterator[tuple[int, Any]]:
        info = self._info()
        self._keep_alive_s = min(_KEEP_ALIVE_S, (info.leaseTimeout or 300) / 4)
        for url in info.deviceUrl or ():
            if url.disk and (key := self._disk_key(url)) is not None:
                yield key, url

    def _disk_key(self, url: Any) -> int | None:
        """Return the key of the disk at the controller and unit that the lease names."""
        for text in (url.key, url.importKey):
            if found := _DEVICE_KEY.search(text or ""):
                return _disk_at(self._hardware, found["kind"], int(found["bus"]), int(found["unit"]))
        return None

    def _info(self) -> Any:
        return self._property("info")

    def _property(self, name: str) -> Any:
        return self._session.read("prepare a transfer", lambda _: getattr(self._lease, name))

    def _abort(self) -> None:
        with contextlib.suppress(Exception):
            self._session.change("end a transfer", lambda _: self._lease.Abort(), limit_s=10.0)

    def _connection(self, url: Any) -> http.client.HTTPSConnection:
        parts = urlsplit(url.url)
        host = self._session.endpoint.host if parts.hostname in ("*", None) else parts.hostname
        port = parts.port or (self._session.endpoint.port if parts.hostname in ("*", None) else 443)
        thumbprint = url.sslThumbprint or ""
        return _connect(str(host), port, self._session.tls, thumbprint)


class FileService:
    """Reads parts of files on datastores; keeps one connection for each thread."""

    def __init__(self, session: Session, datacenter_of: Callable[[str], str]) -> None:
        self._session = session
        self._datacenter_of = datacenter_of
        self._local = threading.local()
        self._open: set[http.client.HTTPSConnection] = set()
        self._lock = threading.Lock()

    def read(self, file: str, area: Area) -> bytes:
        """Return bytes of the flat extent that belongs to a disk's descriptor *file*.

        Raises:
            UnsupportedError: when the file cannot be read in parts.
        """
        path = self._path(file)
        with translated(f"read {file}"):
            try:
                return self._get(path, area)
            except (OSError, http.client.HTTPException):
                # an idle connection may have been closed; once more on a new one
                self._forget()
                return self._get(path, area)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            connection.close()

    def _get(self, path: str, area: Area) -> bytes:
        connection = self._connection()
        headers = {
            "Cookie": self._session.cookie,
            "Range": f"bytes={area.start}-{area.start + area.length - 1}",
        }
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if response.status in (200, 401, 403, 404, 416):
            self._forget()
            raise UnsupportedError(
                f"the datastore's file service answers {response.status} to a partial read"
            )
        _expect(response, {206}, "read a part of a disk")
        return response.read()

    def _path(self, file: str) -> str:
        found = _FILE.fullmatch(file)
        if found is None:
            raise UnsupportedError(f"{file!r} is not a disk on a datastore")
        query = urlencode({"dcPath": self._datacenter_of(found["datastore"]), "dsName": found["datastore"]})
        return f"/folder/{quote(found['path'])}-flat.vmdk?{query}"

    def _connection(self) -> http.client.HTTPSConnection:
        found: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if found is None:
            endpoint = self._session.endpoint
            found = _connect(endpoint.host, endpoint.port, self._session.tls, "")
            self._local.connection = found
            with self._lock:
                self._open.add(found)
        return found

    def _forget(self) -> None:
        found = getattr(self._local, "connection", None)
        if found is not None:
            found.close()
            self._local.connection = None
            with self._lock:
                self._open.discard(found)


def _connect(host: str, port: int, tls: ssl.SSLContext, thumbprint: str) -> http.client.HTTPSConnection:
    """Return a connection whose other end is trusted.

    A host whose certificate the system does not know is trusted when it is the one that the vCenter,
    over its own verified connection, gave the *thumbprint* of.
    """
    connection = http.client.HTTPSConnection(host, port, context=tls, timeout=_SOCKET_S)
    try:
        connection.connect()
    except ssl.SSLCertVerificationError:
        if not thumbprint:
            raise
        connection = _pinned(host, port, thumbprint)
    return connection


def _pinned(host: str, port: int, thumbprint: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=_SOCKET_S)
    connection.connect()
    shown = bytes(connection.sock.getpeercert(binary_form=True) or b"")
    wanted = thumbprint.replace(":", "").lower()
    algorithm = "sha256" if len(wanted) == 64 else "sha1"
    if hashlib.new(algorithm, shown, usedforsecurity=False).hexdigest() != wanted:
        connection.close()
        raise NonRecoverableError(f"{host} does not show the certificate that vCenter knows of it")
    return connection


def _disk_at(hardware: Hardware, kind: str, bus: int, unit: int) -> int | None:
    controllers, disks = hardware.get("controllers"), hardware.get("disks")
    wanted = {"kind": kind, "bus": bus}
    for controller in controllers if isinstance(controllers, list) else []:
        if isinstance(controller, dict) and wanted.items() <= controller.items():
            for disk in disks if isinstance(disks, list) else []:
                if isinstance(disk, dict) and (disk["controller"], disk["unit"]) == (controller["key"], unit):
                    return int(str(disk["key"]))
    return None


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _expect(response: http.client.HTTPResponse, wanted: set[int], what: str) -> None:
    if response.status in wanted:
        return
    message = f"cannot {what}: the server answers {response.status} {response.reason}"
    if response.status >= 500 or response.status in (408, 429):
        raise RecoverableError(message)
    raise NonRecoverableError(message)
