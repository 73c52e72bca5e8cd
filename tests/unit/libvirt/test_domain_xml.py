"""Definitions of domains: what they say, and what becomes of them."""

from __future__ import annotations

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.domain.domain_xml import (
    as_new_domain,
    files_below,
    read_definition,
    with_disks_of,
    with_metadata_of,
    with_sources,
    without_other_disks,
)

DOMAIN = """<domain><name>vm</name><uuid>u</uuid><metadata><other xmlns='urn:other'>kept</other></metadata>
<os><nvram>/var/nvram</nvram></os><devices>
<disk type='file' device='disk'><driver type='qcow2'/><source file='/a.qcow2'/><target dev='vda'/></disk>
<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/b'/><target dev='vdb'/></disk>
<disk type='file' device='cdrom'><source file='/c.iso'/><target dev='sda'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:00:00:01'/></interface>
<channel type='unix'><source path='/sock/et'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
</devices></domain>"""


def test_only_disks_that_hold_data_are_disks() -> None:
    found = read_definition(DOMAIN)
    assert [(disk.target, disk.path, disk.format) for disk in found.disks] == [
        ("vda", "/a.qcow2", "qcow2"),
        ("vdb", "/dev/b", "raw"),
    ]
    assert found.has_agent_channel
    assert found.nvram == "/var/nvram"


def test_changing_a_source_changes_nothing_else() -> None:
    changed = with_sources(DOMAIN, {"vda": "/new"}, {"vda": "raw"})
    found = read_definition(changed)
    assert (found.disks[0].path, found.disks[0].format) == ("/new", "raw")
    assert found.disks[1:] == read_definition(DOMAIN).disks[1:]
    assert "kept" in changed


def test_a_new_domain_has_nothing_of_the_old_ones_identity() -> None:
    changed = as_new_domain(DOMAIN, "other")
    assert "<name>other</name>" in changed
    for gone in ("<uuid>", "52:54:00:00:00:01", "/sock/et", "/var/nvram"):
        assert gone not in changed


def test_metadata_of_others_are_kept() -> None:
    with_ours = with_metadata_of(DOMAIN, "<points><point name='p'/></points>")
    assert "kept" in with_ours
    assert "urn:quiesce" in with_ours
    assert "urn:quiesce" not in with_metadata_of(with_ours, None)


def test_disks_are_taken_from_the_definition_of_now() -> None:
    now = DOMAIN.replace("/dev/b", "/dev/other").replace("/a.qcow2", "/overlay.qcow2")
    found = read_definition(with_disks_of(DOMAIN, now, ["vdb", "vdx"]))
    assert [disk.path for disk in found.disks] == ["/a.qcow2", "/dev/other"]


def test_a_disk_that_the_domain_lost_is_left_as_it_was_stored() -> None:
    assert read_definition(with_disks_of(DOMAIN, "<domain/>", ["vdb"])) == read_definition(DOMAIN)


@pytest.mark.parametrize("device", ["disk", "lun", "floppy"])
def test_whatever_could_be_written_is_taken_from_a_domain_that_must_not(device: str) -> None:
    text = DOMAIN.replace("<disk type='block' device='disk'>", f"<disk type='block' device='{device}'>")
    changed, dropped = without_other_disks(text, {"vda"})
    assert dropped == ["vdb"]
    assert "/dev/b" not in changed
    assert "/a.qcow2" in changed
    assert "/c.iso" in changed


@pytest.mark.parametrize(
    "nvram", ["<nvram>/fw/VARS.fd</nvram>", "<nvram type='file'><source file='/fw/VARS.fd'/></nvram>"]
)
def test_firmware_variables_are_found_in_both_forms_and_a_new_domain_has_its_own(nvram: str) -> None:
    text = DOMAIN.replace("<nvram>/var/nvram</nvram>", nvram)
    assert read_definition(text).nvram == "/fw/VARS.fd"
    assert read_definition(as_new_domain(text, "other")).nvram == "/fw/other_VARS.fd"


@pytest.mark.parametrize(
    "changed",
    [
        ("<source file='/a.qcow2'/>", "<source file='/a.qcow2'><encryption format='luks'/></source>"),
        ("<source file='/a.qcow2'/>", "<source file='/a.qcow2'/><encryption format='luks'/>"),
    ],
)
def test_an_encrypted_disk_is_known_in_both_forms(changed: tuple[str, str]) -> None:
    found = read_definition(DOMAIN.replace(*changed)).disks
    assert [disk.encrypted for disk in found] == [True, False]


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><d>&b;</d>",
        "<!DOCTYPE d [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><d>&a;</d>",
        "<!DOCTYPE d SYSTEM 'http://elsewhere/d.dtd'><d/>",
        "<a>" * 100_000 + "</a>" * 100_000,
        "<a>" + " " * (17 << 20) + "</a>",
        "<a>",
    ],
    ids=["entities", "outside", "document type", "deep", "long", "cut off"],
)
def test_what_libvirt_would_not_write_is_refused(text: str) -> None:
    with pytest.raises(NonRecoverableError):
        xml.read(text)


CHAIN = """<domain><devices><disk><source file='/top'/><backingStore type='file'><source file='/middle'/>
<backingStore type='file'><source file='/base'/>{end}</backingStore></backingStore></disk></devices>
</domain>"""


def test_a_running_domain_tells_what_a_disk_is_read_through() -> None:
    text = CHAIN.format(end="<backingStore/>")
    assert files_below(text, "/middle") == ["/middle", "/base"]
    assert files_below(text, "/elsewhere") == []
    assert files_below(CHAIN.format(end=""), "/middle") == []
