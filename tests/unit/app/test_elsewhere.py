"""Which machines go into another deployment; those that cannot are named before anything is touched."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce.app.elsewhere import Elsewhere, elsewhere_of
from quiesce.errors import PlanError
from quiesce.model.ids import InstanceId
from quiesce.model.parameters import Parameters
from quiesce.providers import gcp, libvirt, openstack, vsphere

from ..planning.made import node, point, topology  # noqa: TID252  the same topologies

DESCRIPTIONS = [each.DESCRIPTION for each in (gcp, libvirt, openstack, vsphere)]
VM = InstanceId("vm_1")
KINDS = {
    "libvirt": "quiesce.nodes.libvirt.Domain",
    "openstack": "quiesce.nodes.openstack.Server",
    "vsphere": "quiesce.nodes.vsphere.Server",
    "gcp": "quiesce.nodes.gcp.Instance",
}


def sent(platform: str, *, full: bool) -> Elsewhere | None:
    """Send the machine of one deployment to the same node of another one."""
    deployments = {
        name: SimpleNamespace(name=name, topology=topology([node("vm", kind=KINDS[platform], operations=())]))
        for name in ("shop", "staging")
    }
    held = point([VM])
    held = replace(
        held, full=full, artifacts=tuple(replace(each, provider=platform) for each in held.artifacts)
    )
    services: Any = SimpleNamespace(
        deployments=SimpleNamespace(get=lambda name: deployments[name]),
        catalog=SimpleNamespace(get=lambda _, __: held),
        descriptions=DESCRIPTIONS,
    )
    target: Any = deployments["staging"]
    return elsewhere_of(services, target, Parameters(source="shop", to="staging", snapshot_name=held.name))


def test_the_backup_of_a_domain_goes_elsewhere() -> None:
    found = sent("libvirt", full=True)
    assert found is not None
    assert found.origins == {VM: VM}


def test_the_snapshot_of_a_domain_does_not() -> None:
    """It would have been looked for in the disks of a domain that is not there."""
    with pytest.raises(PlanError, match="one is a snapshot, which lies in its own disks"):
        sent("libvirt", full=False)


@pytest.mark.parametrize(
    ("platform", "told"),
    [
        ("openstack", "a server of openstack can be restored to itself only; nothing was touched"),
        ("vsphere", "a machine of vsphere can be restored to itself only, or as another one with "),
        ("gcp", "or as another one with gcp_restore_beside and without --to; nothing was touched"),
    ],
)
def test_other_machines_do_not_and_it_is_said_what_they_can(platform: str, told: str) -> None:
    with pytest.raises(PlanError) as refused:
        sent(platform, full=True)
    assert told in str(refused.value)
