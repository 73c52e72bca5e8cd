"""Networks and pools: their definitions saved, compared, and put back when asked."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.backups import Manifest
from quiesce.errors import ResourceNotFoundError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Finding
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import HypervisorObject
from quiesce.providers.libvirt.domain.domain_xml import difference
from quiesce.providers.libvirt.job import LibvirtJob

_FILE: Final = "definition.xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedDefinition:
    """What is known of a saved network or pool."""

    name: str
    active: bool
    cut_at: float
    #: the definition itself, until it is stored
    xml: str | None = None


class DefinitionOperations(CheckedOperations[LibvirtJob]):
    """What is the same for networks and pools."""

    revert = confirm = extract = unsupported

    word: str

    @abstractmethod
    def look_up(self, job: LibvirtJob, name: str) -> HypervisorObject:
        """Return the one of that name."""

    @abstractmethod
    def define(self, job: LibvirtJob, text: str) -> HypervisorObject:
        """Make or replace a definition."""

    freeze = unsupported
    thaw = unsupported
    suspend = unsupported
    resume = unsupported
    measure = unsupported
    prepare = stop = start = probe = unsupported

    def snapshot(self, job: LibvirtJob, /) -> Outcome:
        """Read the definition as it is now."""
        made = job.saving.made_before_cut()
        if made is not None:
            return Outcome(artifact=made.content)
        found = self._find(job)
        saved = SavedDefinition(
            name=found.name, active=found.is_active(), cut_at=time.time(), xml=found.xml()
        )
        return Outcome(artifact=as_artifact(saved))

    def copy(self, job: LibvirtJob, /) -> Outcome:
        """Store what was read."""
        made = job.saving.made_before() or self._store(job)
        return Outcome(artifact=made.content)

    def apply(self, job: LibvirtJob, /) -> Outcome:
        """Tell what differs from the stored definition; put it back when that was asked for."""
        manifest = job.saving.manifest()
        with job.repository.open(manifest, _FILE) as stored:
            text = stored.read().decode(errors="replace")
            stored.check()
        found = difference(text, self._current(job))
        if not found:
            return Outcome(note=f"the {self.word}'s definition is as it was", result=[])
        for line in found:
            job.say(line)
        result: list[Json] = list(found)
        if not job.options.apply_network:
            note = f"the {self.word}'s definition differs; set apply_network to put it back"
            return Outcome(note=note, result=result)
        self._put_back(job, text, read_artifact(SavedDefinition, manifest.content))
        return Outcome(note=f"the {self.word}'s definition was put back", result=result)

    def delete(self, job: LibvirtJob, /) -> Outcome:
        """Remove what is stored; the network or pool itself is never touched."""
        if note := job.saving.remove():
            job.warn(note)
        return NOTHING

    def doctor(self, job: LibvirtJob, /) -> Sequence[Finding]:
        """Tell whether it is there."""
        found = self._find(job)
        active = "active" if found.is_active() else "not active"
        return [Finding(check="found", passed=True, detail=f"{self.word} {found.name} is {active}")]

    def verify(self, job: LibvirtJob, /) -> Proof:
        """Read what is stored."""
        return job.saving.verify()

    def _store(self, job: LibvirtJob) -> Manifest:
        saved = read_artifact(SavedDefinition, artifact_of(job.call))
        draft = job.saving.begin()
        with draft.create(_FILE) as out:
            out.write((saved.xml or "").encode())
        content = SavedDefinition(name=saved.name, active=saved.active, cut_at=saved.cut_at)
        return job.saving.complete(
            draft, as_artifact(content), consistency=Consistency.APPLICATION, cut_at=saved.cut_at
        )

    def _find(self, job: LibvirtJob) -> HypervisorObject:
        return job.resource.find(lambda name: self.look_up(job, name))

    def _current(self, job: LibvirtJob) -> str:
        """Return the definition there is; an empty one when there is none."""
        try:
            return self._find(job).xml()
        except ResourceNotFoundError:
            return xml.write(xml.element(self.word))

    def _put_back(self, job: LibvirtJob, text: str, saved: SavedDefinition) -> None:
        was_active = saved.active
        try:
            there = self._find(job)
        except ResourceNotFoundError:
            pass
        else:
            was_active = was_active or there.is_active()
            there.remove()
        made = self.define(job, text)
        if was_active:
            made.start()


class LibvirtNetworkOperations(DefinitionOperations):
    """Saves networks."""

    word = "network"

    def look_up(self, job: LibvirtJob, name: str) -> HypervisorObject:
        """Return the network of that name or UUID."""
        return job.hypervisor.network(name)

    def define(self, job: LibvirtJob, text: str) -> HypervisorObject:
        """Make or replace a network."""
        return job.hypervisor.define_network(text)


class LibvirtPoolOperations(DefinitionOperations):
    """Saves storage pools."""

    word = "pool"

    def look_up(self, job: LibvirtJob, name: str) -> HypervisorObject:
        """Return the pool of that name or UUID."""
        return job.hypervisor.pool(name)

    def define(self, job: LibvirtJob, text: str) -> HypervisorObject:
        """Make or replace a pool."""
        return job.hypervisor.define_pool(text)
