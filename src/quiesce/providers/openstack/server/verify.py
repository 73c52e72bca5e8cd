"""Checks what is stored of a server without putting it back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from quiesce.errors import DamagedArtifactError
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.artifact import artifact_of, read_artifact
from quiesce.provider_kit.saving import proof_of, watched
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.server.content import ServerContent
from quiesce.providers.openstack.volume.restore import source_of, state_of


def verify(job: OpenStackJob) -> Proof:
    """Read the image and compare its checksum; ask Cinder about snapshots and backups."""
    content = read_artifact(ServerContent, artifact_of(job.call))
    is_read = content.image is not None and content.checksum is not None
    return proof_of("checksums" if is_read else "presence", lambda: "; ".join(_details(job, content)))


def _details(job: OpenStackJob, content: ServerContent) -> Iterator[str]:
    if content.image is not None and content.checksum is not None:
        yield _read_image(job, content)
    for volume in content.volumes:
        yield state_of(source_of(job, volume))


def _read_image(job: OpenStackJob, content: ServerContent) -> str:
    digest = hashlib.new(content.hash_algorithm or "sha512")
    size_bytes = 0
    advance = watched(job.context, content.size_bytes)
    for chunk in job.cloud.download(str(content.image)):
        digest.update(chunk)
        size_bytes += len(chunk)
        advance(len(chunk))
    if digest.hexdigest() != content.checksum:
        raise DamagedArtifactError(f"image {content.image} has another checksum than was written")
    return f"image {content.image}: {size_bytes} bytes read, {digest.name} as written"
