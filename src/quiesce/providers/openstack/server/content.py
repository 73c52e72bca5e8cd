"""What of a server belongs to a restore point."""

from __future__ import annotations

from dataclasses import dataclass

from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.artifact import as_artifact
from quiesce.providers.openstack.volume.content import VolumeContent


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerContent:
    """The ids of one server's parts, as an artifact keeps them."""

    server: str
    #: of a server that boots from an image: its root disk; else Nova's list of snapshots, while it is needed
    image: str | None = None
    size_bytes: int | None = None
    checksum: str | None = None
    hash_algorithm: str | None = None
    volumes: tuple[VolumeContent, ...] = ()

    def outcome(self, *, consistency: Consistency | None = None, note: str = "") -> Outcome:
        """Return the answer of a step that made it."""
        images = [self.image] if self.image else []
        shown: dict[str, Json] = {
            "objects": list(
                dict.fromkeys([*images, *(found for volume in self.volumes for found in volume.objects)])
            ),
            "builds_on": [name for volume in self.volumes for name in volume.builds_on],
        }
        return Outcome(artifact=as_artifact(self) | shown, consistency=consistency, note=note)
