"""Reading parts of disks through the file service of a vCenter's datastores."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlencode

from quiesce.errors import UnsupportedError
from quiesce.providers.vsphere.errors import translated
from quiesce.providers.vsphere.session.https import connect, expect
from quiesce.providers.vsphere.session.session import VCenterSession
from quiesce.providers.vsphere.vcenter import DiskArea

_FILE: Final = re.compile(r"\[(?P<datastore>[^\]]+)\] (?P<path>.+)\.vmdk")


class FileService:
    """Reads parts of files on datastores; keeps one connection for each thread."""

    def __init__(self, session: VCenterSession, datacenter_of: Callable[[str], str]) -> None:
        self._session = session
        self._datacenter_of = datacenter_of
        self._local = threading.local()
        self._open: set[http.client.HTTPSConnection] = set()
        self._lock = threading.Lock()

    def read(self, file: str, area: DiskArea) -> bytes:
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

    def _get(self, path: str, area: DiskArea) -> bytes:
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
        expect(response, {206}, "read a part of a disk")
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
            found = connect(endpoint.host, endpoint.port, self._session.tls, "")
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
