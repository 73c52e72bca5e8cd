"""What is done to a node that is a network object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from quiesce.errors import ResourceNotFoundError, UnsupportedError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Finding
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.provider_kit.saving import proof
from quiesce.providers.openstack import doctor
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import ids_of, names_of
from quiesce.providers.openstack.network import gateway
from quiesce.providers.openstack.network.definition import (
    FieldDifference,
    NetworkDefinition,
    NetworkSort,
    definition_of,
)
from quiesce.providers.openstack.network.rules import change_rules


class NetworkOperations(CheckedOperations[OpenStackJob]):
    """One sort of network object; nothing of it is kept on the cloud."""

    revert = confirm = extract = unsupported

    freeze = unsupported
    thaw = unsupported
    suspend = unsupported
    resume = unsupported
    copy = unsupported
    measure = unsupported
    prepare = stop = start = probe = unsupported

    def __init__(self, sort: NetworkSort) -> None:
        self._sort = sort

    def snapshot(self, job: OpenStackJob, /) -> Outcome:
        """Return the definition as it is now."""
        return Outcome(artifact=as_artifact(definition_of(job.cloud, self._sort, self._find(job))))

    def apply(self, job: OpenStackJob, /) -> Outcome:
        """Report how the object differs from what was saved; change it back only when that is asked for."""
        saved = read_artifact(NetworkDefinition, artifact_of(job.call))
        current = definition_of(job.cloud, self._sort, self._find(job))
        differences = list(saved.differences(current))
        for difference in differences:
            job.warn(f"{self._sort.section} {current.id}: {difference}")
        if not differences:
            return Outcome(note="it is as it was")
        if not job.call.parameters.apply_network:
            text = "; ".join(str(difference) for difference in differences)
            return Outcome(note=f"left as it is (apply_network was not asked for): {text}")
        self._change(job, current, saved, differences)
        return NOTHING

    def delete(self, job: OpenStackJob, /) -> Outcome:
        """Nothing is kept on the cloud."""
        return NOTHING

    def doctor(self, job: OpenStackJob, /) -> Sequence[Finding]:
        """Check that networks can be seen."""
        return list(doctor.check_network(job))

    def verify(self, job: OpenStackJob, /) -> Proof:
        """Read the definition."""
        read_artifact(NetworkDefinition, artifact_of(job.call))
        return proof("checksums", detail="the definition is kept in the catalog itself")

    def _find(self, job: OpenStackJob) -> dict[str, Any]:
        collection = self._sort.collection
        ids = list(ids_of(job.call.properties, job.call.runtime_properties))
        for object_id in ids:
            found = job.cloud.network_object(collection, object_id)
            if found is not None:
                return found
        names = [*ids, *names_of(job.call.properties, job.call.runtime_properties, self._sort.section)]
        named = [found for name in names for found in job.cloud.network_objects(collection, name=name)]
        if len(named) != 1:
            raise ResourceNotFoundError(
                f"{job.call.instance}: {len(named)} {collection} found for "
                f"{', '.join(names) or 'no name'}; exactly one is needed",
                hint="Give its id as 'resource_id'.",
            )
        return named[0]

    def _change(
        self,
        job: OpenStackJob,
        current: NetworkDefinition,
        saved: NetworkDefinition,
        differences: Iterable[FieldDifference],
    ) -> None:
        names = {difference.field for difference in differences}
        self._refuse_fixed(current.id, names)
        if "rules" in names:
            change_rules(job.cloud, current.id, saved.rules or ())
        update = partial(job.cloud.update_network_object, self._sort.collection, current.id)
        fields = {
            name: saved.fields[name] for name in sorted(names & self._sort.changeable - {gateway.FIELD})
        }
        there, wanted = set(current.subnets or ()), set(saved.subnets or ())
        # Neutron takes a route only when its next hop is reached, and keeps an interface that a route uses:
        # what routes need comes before them, and what they no longer need goes after them
        routed = "routes" in names
        if not routed:
            _disconnect(job, current.id, there - wanted)
        _connect(job, current.id, wanted - there)
        if gateway.FIELD in names:
            before, now = saved.fields[gateway.FIELD], current.fields.get(gateway.FIELD)
            gateway.put_gateway_back(update, before, now, job.warn)
        if fields:
            update(fields)
        if routed:
            _disconnect(job, current.id, there - wanted)

    def _refuse_fixed(self, object_id: str, names: set[str]) -> None:
        fixed = sorted(names & self._sort.fixed)
        if fixed:
            raise UnsupportedError(
                f"{self._sort.section} {object_id}: {', '.join(fixed)} cannot be changed back",
                hint="Make the object anew, or restore without apply_network.",
            )


def _connect(job: OpenStackJob, router_id: str, subnets: Iterable[str]) -> None:
    for subnet_id in sorted(subnets):
        job.cloud.change_router(router_id, "add_router_interface", subnet_id)


def _disconnect(job: OpenStackJob, router_id: str, subnets: Iterable[str]) -> None:
    for subnet_id in sorted(subnets):
        job.cloud.change_router(router_id, "remove_router_interface", subnet_id)
