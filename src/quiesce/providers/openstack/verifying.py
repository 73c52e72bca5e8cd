"""Checks what is stored without putting it back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from quiesce.errors import ProviderError
from quiesce.model.call import Call
from quiesce.model.restore_point import Proof
from quiesce.ports import Context
from quiesce.providers.openstack.connection import Connection
from quiesce.providers.openstack.cutting import Content
from quiesce.providers.openstack.volumes import Piece, Volumes


def verified(connection: Connection, call: Call, context: Context) -> Proof:
    """Return a proof of what the call's artifact names.

    Images are read and compared with their checksum. Of snapshots and backups Cinder only tells whether it
    considers them usable; the proof says so.
    """
    try:
        details = list(_details(connection, call, context))
    except ProviderError as error:
        return Proof(at=time.time(), kind="checksums", passed=False, detail=str(error))
    return Proof(at=time.time(), kind="checksums", passed=True, detail="; ".join(details))


def _details(connection: Connection, call: Call, context: Context) -> Iterable[str]:
    artifact = call.artifact or {}
    if "fields" in artifact:
        yield "the definition is kept in the catalog itself"
        return
    pieces = [Piece.of(artifact)] if "volume" in artifact else []
    if "server" in artifact:
        content = Content.of(call)
        pieces = list(content.pieces)
        if content.image_id and content.checksum:
            yield _image_read(connection, content, context)
    volumes = Volumes(connection, call, context)
    for piece in pieces:
        found = volumes.checked(piece)
        yield f"Cinder says that {found.name} ({found.id}) is {found.status}; its data was not read"


def _image_read(connection: Connection, content: Content, context: Context) -> str:
    digest = hashlib.new(content.hash_algorithm or "sha512")
    size_bytes = 0
    for piece in connection.cloud.download(str(content.image_id)):
        if context.given_up() or context.remaining_s() <= 0:
            raise ProviderError(f"gave up reading image {content.image_id} after {size_bytes} bytes")
        digest.update(piece)
        size_bytes += len(piece)
        context.progress(size_bytes, content.size_bytes)
    if digest.hexdigest() != content.checksum:
        raise ProviderError(f"image {content.image_id} has another checksum than was written")
    return f"image {content.image_id}: {size_bytes} bytes read, {digest.name} as written"
