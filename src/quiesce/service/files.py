"""Files of restore points: shown by directory, and taken out one at a time."""

from __future__ import annotations

import base64
import binascii
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Final
from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from quiesce.app.points.browse import extracted_file, list_stored
from quiesce.app.services import Services
from quiesce.model.stored_entry import EntryKind, StoredEntry
from quiesce.service.access import RequestRefusedError

_CHUNK_BYTES: Final = 1 << 20
#: taking a file out reads an archive: more at a time would slow everything else down
_AT_ONCE: Final = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """An entry as a page shows it."""

    entry: StoredEntry
    name: str
    #: stands for the path in addresses: names are bytes, and addresses are text
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesSeen:
    """A directory of a restore point as a page shows it."""

    instance: str
    #: name and token of each directory on the way, the root first
    path: tuple[tuple[str, str], ...]
    rows: tuple[FileRow, ...]
    left_out: int


def look_into(services: Services, request: Request) -> FilesSeen:
    """Return the directory that *request* asks for."""
    given = request.path_params
    below = path_of(request.query_params.get("at", ""))
    listing = list_stored(services, given["deployment"], given["point"], given["instance"], below)
    return FilesSeen(
        instance=given["instance"],
        path=((given["instance"], ""), *_on_the_way(below)),
        rows=tuple(sorted(map(_row, listing.entries), key=_directories_first)),
        left_out=listing.left_out,
    )


def send_file(services: Services, request: Request, form: Mapping[str, str]) -> Response:
    """Return the content of the file that *form* names, to be kept and not to be shown.

    Raises:
        RequestRefusedError: when others are being taken out already.
    """
    given, path = request.path_params, path_of(form.get("at", ""))
    if not _AT_ONCE.acquire(blocking=False):
        raise RequestRefusedError("other files are being taken out; try again in a moment", 429)
    try:
        stack = ExitStack()
        file = stack.enter_context(
            extracted_file(services, given["deployment"], given["point"], given["instance"], path)
        )
    finally:
        _AT_ONCE.release()
    name = path.rpartition(b"/")[2]
    return StreamingResponse(
        _content(file, stack),
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Length": str(os.fstat(file.fileno()).st_size),
        },
        background=BackgroundTask(stack.close),
    )


def path_of(token: str) -> bytes:
    """Return the path that a token stands for.

    Raises:
        RequestRefusedError: when it is none.
    """
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise RequestRefusedError("this is no path of ours", 400) from None


def token_of(path: bytes) -> str:
    """Return what stands for a path in an address."""
    return base64.urlsafe_b64encode(path).decode()


def _content(file: IO[bytes], stack: ExitStack) -> Iterator[bytes]:
    with stack:
        while data := file.read(_CHUNK_BYTES):
            yield data


def _on_the_way(below: bytes) -> Iterator[tuple[str, str]]:
    parts = below.split(b"/") if below else []
    for count, part in enumerate(parts, start=1):
        yield os.fsdecode(part), token_of(b"/".join(parts[:count]))


def _row(entry: StoredEntry) -> FileRow:
    return FileRow(entry=entry, name=os.fsdecode(entry.name), token=token_of(entry.path))


def _directories_first(row: FileRow) -> tuple[bool, bytes]:
    return row.entry.kind is not EntryKind.DIRECTORY, row.entry.path
