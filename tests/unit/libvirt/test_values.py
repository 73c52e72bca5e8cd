"""Settings, definitions and figures, without a hypervisor."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.operation import Operation
from quiesce.providers.libvirt import definition, errors
from quiesce.providers.libvirt.settings import key_of, settings_of
from quiesce.providers.libvirt.statistics import Sampler
from quiesce.testing import Subject

DOMAIN = """<domain><name>vm</name><uuid>u</uuid><metadata><other xmlns='urn:other'>kept</other></metadata>
<os><nvram>/var/nvram</nvram></os><devices>
<disk type='file' device='disk'><driver type='qcow2'/><source file='/a.qcow2'/><target dev='vda'/></disk>
<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/b'/><target dev='vdb'/></disk>
<disk type='file' device='cdrom'><source file='/c.iso'/><target dev='sda'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:00:00:01'/></interface>
<channel type='unix'><source path='/sock/et'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
</devices></domain>"""


def settings(**changes: Any) -> Any:
    return settings_of(Subject().call(Operation.SNAPSHOT, **changes))


def test_the_resource_is_found_by_what_is_nearest_to_it() -> None:
    properties = {"resource_id": "by-property", "params": {"name": "by-params"}}
    found = settings(properties=properties, runtime_properties={"resource_id": "by-runtime"})
    assert found.names == ("by-runtime", "by-property", "by-params", "node_ab12cd")
    assert settings(properties={"resource_id": "", "params": {"name": ""}}).names == ("node_ab12cd",)


def test_an_official_node_keeps_its_uri_and_its_backup_dir() -> None:
    found = settings(properties={"libvirt_auth": "qemu:///session", "backup_dir": "/backups"})
    assert (found.uri, found.repository) == ("qemu:///session", "/backups")
    assert settings(properties={"backup_dir": "./"}).repository is None


def test_a_workflow_parameter_overrides_a_property() -> None:
    found = settings(properties={"backup_mode": "full"}, inputs={"backup_mode": "incremental"})
    assert found.backup_mode == "incremental"


def test_a_word_that_means_nothing_is_refused() -> None:
    with pytest.raises(NonRecoverableError, match="external, internal"):
        settings(properties={"snapshot_kind": "both"})


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("qemu+unix:///session?socket=/x", True),
        ("qemu+ssh://root@far/system", False),
        ("qemu+tcp://localhost/system", True),
    ],
)
def test_a_remote_hypervisor_is_recognised(uri: str, local: bool) -> None:
    assert settings(properties={"libvirt_auth": uri}).is_local is local


def test_keys_of_different_restore_points_differ() -> None:
    subject = Subject()
    calls = [subject.call(Operation.SNAPSHOT, point=point, instance=i) for point in "ab" for i in ("x", "y")]
    assert len({key_of(call) for call in calls}) == 4


def test_only_disks_that_hold_data_are_disks() -> None:
    found = definition.read_definition(DOMAIN)
    assert [(disk.target, disk.path, disk.format) for disk in found.disks] == [
        ("vda", "/a.qcow2", "qcow2"),
        ("vdb", "/dev/b", "raw"),
    ]
    assert found.has_agent_channel
    assert found.nvram == "/var/nvram"


def test_changing_a_source_changes_nothing_else() -> None:
    changed = definition.with_sources(DOMAIN, {"vda": "/new"}, {"vda": "raw"})
    found = definition.read_definition(changed)
    assert (found.disks[0].path, found.disks[0].format) == ("/new", "raw")
    assert found.disks[1:] == definition.read_definition(DOMAIN).disks[1:]
    assert "kept" in changed


def test_a_new_domain_has_nothing_of_the_old_ones_identity() -> None:
    changed = definition.as_new_domain(DOMAIN, "other")
    assert "<name>other</name>" in changed
    for gone in ("<uuid>", "52:54:00:00:00:01", "/sock/et", "/var/nvram"):
        assert gone not in changed


def test_metadata_of_others_are_kept() -> None:
    with_ours = definition.with_metadata_of(DOMAIN, "<points><point name='p'/></points>")
    assert "kept" in with_ours
    assert "urn:quiesce" in with_ours
    assert "urn:quiesce" not in definition.with_metadata_of(with_ours, None)


@pytest.mark.parametrize(
    ("number", "message", "kind"),
    [
        (errors.NO_DOMAIN, "no domain", ResourceNotFoundError),
        (1, "client socket is closed", RecoverableError),
        (errors.AGENT_UNRESPONSIVE, "Guest agent is not responding: not connected", CannotFreezeError),
        (errors.AGENT_UNRESPONSIVE, "Guest agent not available for now", OperationTimeoutError),
        (errors.ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured", CannotFreezeError),
        (errors.OPERATION_TIMEOUT, "cannot acquire state change lock", RecoverableError),
        (errors.OPERATION_UNSUPPORTED, "not supported yet", UnsupportedError),
        (None, "anything else", NonRecoverableError),
    ],
)
def test_each_error_says_whether_asking_again_helps(number: int, message: str, kind: type[Exception]) -> None:
    found = errors.translate(number, message, "do it")
    assert isinstance(found, kind)
    assert message in str(found)


def test_many_who_measure_at_once_share_two_readings() -> None:
    sampler, readings = Sampler(), []

    def read() -> dict[str, dict[str, int]]:
        readings.append(len(readings))
        return {"u": {"state.state": 1, "cpu.time": len(readings) * 10**9, "block.0.wr.bytes": 1000}}

    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(sampler.measure("uri", read).measurements("u")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(readings) <= 4
    assert found[0]["cpu_percent"] > 0
    assert found[0]["disk_write_bytes_per_s"] == 0


def test_a_domain_that_is_off_has_no_figures() -> None:
    assert Sampler().measure("uri", dict).measurements("u") == {"running": False}
