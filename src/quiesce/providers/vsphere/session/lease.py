"""Moving whole disks over HTTPS, under a lease."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self
from urllib.parse import urlsplit

from quiesce.errors import ProviderError, UnsupportedError
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.vsphere.errors import of_fault, translated
from quiesce.providers.vsphere.inventory import Hardware
from quiesce.providers.vsphere.session.https import be_patient, connect, expect, path_of
from quiesce.providers.vsphere.session.sdk import id_of
from quiesce.providers.vsphere.session.session import VCenterSession
from quiesce.providers.vsphere.vcenter import DiskUpload

_PIECE_BYTES: Final = 1 << 20
#: how often we are heard from at least, so that the lease does not end by itself
_KEEP_ALIVE_S: Final = 30.0
_CLOSE_S: Final = 10.0
_DEVICE_KEY: Final = re.compile(r"/(?P<kind>[A-Za-z]+)(?P<bus>\d+):(?P<unit>\d+)$")


class NfcLease:
    """An NFC lease; use it in a ``with`` block, which completes or aborts it."""

    def __init__(self, session: VCenterSession, lease: Any, hardware: Hardware, deadline: Deadline) -> None:
        self._session = session
        self._lease = lease
        self._hardware = hardware
        self._deadline = deadline
        self._urls: dict[int, Any] = {}
        self._keep_alive_s = _KEEP_ALIVE_S
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep_alive, name="keeps a lease", daemon=True)
        self._manifest: dict[str, str] | None = None

    def __enter__(self) -> Self:
        try:
            self._await_ready()
        except BaseException:
            self._abort()
            raise
        self._keeper.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._keeper.join(_CLOSE_S)
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
            connection.request("GET", path_of(url.url), headers={"Cookie": self._session.cookie})
            response = connection.getresponse()
            expect(response, {200}, "read a disk")
            yield self._pieces(response)

    def sha1(self, key: int) -> str | None:
        """Return the platform's own checksum of what was read; None when it has none."""
        if self._manifest is None:
            entries = self._session.read("check a disk", lambda _: self._lease.GetManifest())
            self._manifest = {one.key: str(one.sha1) for one in entries or () if one.sha1}
        url = self._urls[key]
        return self._manifest.get(url.key) or self._manifest.get(url.targetId or "")

    def write(self, key: int, upload: DiskUpload) -> None:
        """Send the stream-optimised VMDK of one disk.

        Raises:
            DamagedArtifactError: when what was sent is not what was written once; the lease is then aborted.
        """
        url = self._urls[key]
        headers = {
            "Content-Type": "application/x-vnd.vmware-streamVmdk",
            "Content-Length": str(upload.size_bytes),
            "Overwrite": "t",
            "Cookie": self._session.cookie,
        }
        with translated("write a disk"), contextlib.closing(self._connection(url)) as connection:
            connection.request("POST", path_of(url.url), self._outgoing(upload), headers)
            expect(connection.getresponse(), {200, 201}, "write a disk")
        upload.check()

    def _outgoing(self, upload: DiskUpload) -> Iterator[bytes]:
        while piece := upload.stream.read(_PIECE_BYTES):
            self._deadline.left_s()
            yield piece

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while piece := response.read(_PIECE_BYTES):
            yield piece

    def _keep_alive(self) -> None:
        """Let vSphere hear of us whether data flows or not; what goes wrong with that, the transfer tells."""
        while not self._over.wait(self._keep_alive_s):
            with contextlib.suppress(ProviderError):
                self._session.change("keep a transfer alive", lambda _: self._lease.Progress(50))

    def _await_ready(self) -> None:
        state = self._deadline.until(self._state_when_ready, longest_s=1.0)
        if state != "ready":
            raise of_fault(self._property("error") or RuntimeError(state), "get a transfer ready")
        self._urls = dict(self._keyed_urls())

    def _state_when_ready(self) -> str | None:
        state = str(self._property("state"))
        return None if state == "initializing" else state

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
                return self._hardware.disk_at(found["kind"], int(found["bus"]), int(found["unit"]))
        return None

    def _info(self) -> Any:
        return self._property("info")

    def _property(self, name: str) -> Any:
        return self._session.read("prepare a transfer", lambda _: getattr(self._lease, name))

    def _abort(self) -> None:
        with contextlib.suppress(Exception):
            self._session.change("end a transfer", lambda _: self._lease.Abort(), most_s=_CLOSE_S)

    def _connection(self, url: Any) -> http.client.HTTPSConnection:
        parts = urlsplit(url.url)
        host = self._session.endpoint.host if parts.hostname in ("*", None) else parts.hostname
        port = parts.port or (self._session.endpoint.port if parts.hostname in ("*", None) else 443)
        connection = connect(str(host), port, self._session.tls, url.sslThumbprint or "")
        be_patient(connection)
        return connection
