"""What is chosen for a node, and which resource it stands for."""

from __future__ import annotations

from typing import Any

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.model.operation import Operation
from quiesce.provider_kit.options import read_options
from quiesce.provider_kit.ownership import Owner
from quiesce.providers.libvirt.options import BackupMode, LibvirtOptions
from quiesce.providers.libvirt.ownership import description_of, key_in, object_name, owner_in, tag_of
from quiesce.providers.libvirt.resource import LibvirtResource, resource_of
from quiesce.testing import Subject


def options(**changes: Any) -> LibvirtOptions:
    return read_options(LibvirtOptions, "libvirt", Subject().call(Operation.SNAPSHOT, **changes))


def resource(**changes: Any) -> LibvirtResource:
    return resource_of(Subject().call(Operation.SNAPSHOT, **changes))


def test_the_resource_is_found_by_what_is_nearest_to_it() -> None:
    properties = {"resource_id": "by-property", "params": {"name": "by-params"}}
    found = resource(properties=properties, runtime_properties={"resource_id": "by-runtime"})
    assert found.names == ("by-runtime", "by-property", "by-params", "node_ab12cd")
    assert resource(properties={"resource_id": "", "params": {"name": ""}}).names == ("node_ab12cd",)


def test_an_official_node_keeps_its_uri_and_its_backup_dir() -> None:
    assert resource(properties={"libvirt_auth": "qemu:///session"}).uri == "qemu:///session"
    chosen = options(properties={"libvirt_auth": "qemu:///session", "backup_dir": "/backups"})
    assert str(chosen.repository_or("/default")) == "/backups"
    assert str(options(properties={"backup_dir": "./"}).repository_or("/default")) == "/default"


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
    assert resource(properties={"libvirt_auth": uri}).is_local is local


def test_a_workflow_parameter_overrides_a_property() -> None:
    found = options(properties={"backup_mode": "full"}, inputs={"backup_mode": "incremental"})
    assert found.backup_mode is BackupMode.INCREMENTAL


@pytest.mark.parametrize(
    ("written", "name", "read"),
    [
        ("vdb", "exclude_disks", ("vdb",)),
        ("vdb, vdc", "exclude_disks", ("vdb", "vdc")),
        ("1.5m", "freeze_timeout", 90.0),
        ("/srv,/data", "mountpoints", ("/srv", "/data")),
    ],
)
@pytest.mark.parametrize("place", ["inputs", "properties"])
def test_a_value_written_as_text_counts_like_a_typed_one(
    written: str, name: str, read: object, place: str
) -> None:
    assert getattr(options(**{place: {name: written}}), name) == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exclude_disks", {"vdb": True}),
        ("exclude_disks", 5),
        ("save_memory", 1),
        ("snapshot_kind", "both"),
        ("backup_mode", 7),
        ("freeze_timeout", 0),
        ("mountpoints", [1]),
        ("scratch_dir", "scratch"),
        ("restore_as", 3),
        ("apply_network", "maybe"),
        ("repository", "backups"),
    ],
)
def test_a_value_that_means_nothing_is_an_error_that_names_its_option(name: str, value: Any) -> None:
    with pytest.raises(NonRecoverableError, match=name):
        options(properties={name: value})


def test_an_option_that_there_is_not_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(NonRecoverableError, match="exclude_disk'") as caught:
        options(inputs={"libvirt_exclude_disk": "vdb"})
    assert "libvirt_exclude_disks" in str(caught.value.hint)


def test_owners_of_different_restore_points_are_told_apart() -> None:
    subject = Subject()
    owners = [
        Owner.of(subject.call(Operation.SNAPSHOT, point=point, instance=instance))
        for point in "ab"
        for instance in ("x", "y")
    ]
    assert len({owner.key for owner in owners}) == 4
    assert len({tag_of(owner) for owner in owners}) == 4
    for owner in owners:
        assert owner_in(description_of(owner)) == owner
        assert key_in(tag_of(owner)) == owner.key
        assert object_name(owner) in tag_of(owner)


@pytest.mark.parametrize(
    "text", ["", "theirs", "quiesce ", "quiesce {", "quiesce []", "quiesce {}", "quiesce 5"]
)
def test_a_description_that_is_not_ours_has_no_owner(text: str) -> None:
    assert owner_in(text) is None


@pytest.mark.parametrize("tag", ["", "theirs", "vm-one", "vm-one@", "vm-one@abc", "@", "a.b"])
def test_a_tag_that_is_not_ours_has_no_owner(tag: str) -> None:
    assert key_in(tag) is None
