"""What every full copy can do, wherever it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from quiesce.model.ids import Json
from quiesce.model.restore_point import Proof
from quiesce.providers.vsphere.inventory import MachineSnapshot, VirtualMachine
from quiesce.providers.vsphere.machine.artifact import BackupArtifact


class FullCopy(Protocol):
    """The full copy that a call is about, made or still to be made."""

    def finished(self) -> Mapping[str, Json] | None:
        """Return the artifact of the copy that this execution has completed already.

        Raises:
            ForeignObjectError: when somebody else, or another execution, made what is there.
        """
        ...

    def begin(self) -> None:
        """Take the place where it will be, before the cut.

        Raises:
            ForeignObjectError: when something else is there; it was not touched.
        """
        ...

    def copy(
        self, artifact: BackupArtifact, machine: VirtualMachine, snapshot: MachineSnapshot
    ) -> Mapping[str, Json]:
        """Copy what *snapshot* holds and return the completed artifact."""
        ...

    def checked(self) -> BackupArtifact:
        """Return what was recorded, once it is known that the copy is whole.

        Raises:
            ResourceNotFoundError: when there is no complete copy.
            DamagedArtifactError: when it is not what was made.
        """
        ...

    def build_machine(
        self, artifact: BackupArtifact, name: str, marks: Mapping[str, str], *, connected: bool
    ) -> str:
        """Make a machine of the copy and return its id; it is switched off."""
        ...

    def verify(self) -> Proof:
        """Check what is stored without restoring it."""
        ...

    def delete(self) -> None:
        """Remove the copy, finished or half-made; what is somebody else's is left alone."""
        ...
