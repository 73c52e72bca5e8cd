"""Machines built from the files of the repository."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, cast

from quiesce.model.ids import Json
from quiesce.providers.vsphere.center import BuildRequest, Upload
from quiesce.providers.vsphere.job import Job
from quiesce.repository import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSource:
    """A complete, checked copy in the repository."""

    job: Job
    manifest: Manifest

    @property
    def content(self) -> Mapping[str, Json]:
        """What was recorded at the cut."""
        return self.manifest.content

    def materialise(self, name: str, marks: Mapping[str, str], *, connected: bool) -> str:
        """Make a machine of the stored state and return its id; it is switched off."""
        request = BuildRequest(
            name=name,
            marks=marks,
            hardware=_mapping(self.content.get("hardware")),
            folder_id=str(self.content.get("folder", "")),
            folder=self.job.options.folder,
            pool=str(self.content["pool"]) if self.content.get("pool") else None,
            datastore=self.job.options.datastore,
            connected=connected,
        )
        with ExitStack() as stack:
            disks = {key: self._upload(stack, file) for key, file in self._files().items()}
            return self.job.center.build(request, disks, self.job.context)

    def _files(self) -> dict[int, str]:
        disks = self.content.get("disks")
        entries = disks if isinstance(disks, list) else []
        return {int(str(one["key"])): str(one["file"]) for one in entries if isinstance(one, dict)}

    def _upload(self, stack: ExitStack, file: str) -> Upload:
        stored = stack.enter_context(self.job.repository.open(self.manifest, file))
        stream = cast("IO[bytes]", io.BufferedReader(stored, 1 << 20))
        return Upload(stream=stream, size_bytes=self.manifest.file(file).size_bytes)


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
