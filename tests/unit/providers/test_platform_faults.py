"""Every known fault of a platform has a test that behaves as the platform does, and names where it was read.

The ids are those of the survey that found them: P of public documents, issues and sources, L of attacks on a
real libvirt. Printed with ``-s``.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPENSTACK, NETWORKS = "unit/openstack/test_as_it_is.py", "unit/openstack/test_networks.py"
VSPHERE, VCENTER = "unit/vsphere/test_as_it_is.py", "integration/test_vsphere_as_it_is.py"
GCP, DISKS = "integration/test_gcp_as_it_is.py", "unit/libvirt/test_exclude_disks.py"
THREATS, TRAPS = "unit/libvirt/test_guests_threats.py", "integration/test_libvirt_traps.py"
LAB = "attacked on the lab's libvirt 9.0 and QEMU 7.2"
NEUTRON = "integration/test_openstack_networks.py"

#: id, file, test or class, source
ROWS = (
    ("P1", NETWORKS, "test_a_rule_from_an_address_group_is_not_put_back_as_one_from_anywhere", "Network API"),
    ("P1", NETWORKS, "test_a_rule_from_something_newer_than_this_code_is_not_made_without_it", "Network API"),
    ("P1", NETWORKS, "test_a_rule_that_cannot_be_made_leaves_the_others_alone", "Network API"),
    ("P1", NEUTRON, "test_a_definition_comes_back_when_asked_for", "the lab's Neutron 29"),
    ("P2", OPENSTACK, "TestTwoFreezes", "nova virt/libvirt/driver.py; qemu qga/commands-linux.c"),
    ("P3", VSPHERE, "TestChangedBlockTracking", "VMware KB 2090639, Broadcom 317933"),
    (
        "P4",
        VSPHERE,
        "TestEncryption",
        "vSphere API 6.5, VirtualDiskFlatVer2BackingInfo; vSphere Security 6.7",
    ),
    ("P5", VSPHERE, "TestObjectStores", "vmware/vic#3787, #3931; vmware/govmomi#332"),
    ("P6", GCP, "TestDisksOfMachineImages", "discovery document, Disk.sourceMachineImage"),
    ("P7", GCP, "TestWhatADiskIs", "discovery document, Disk"),
    (
        "P8",
        "unit/vsphere/test_sdk.py",
        "test_a_card_keeps_who_has_chosen_its_address",
        "terraform-provider-esxi#184",
    ),
    ("P9", VCENTER, "test_a_long_silence_ends_no_export", "ansible#74101, community.vmware#947"),
    ("P10", VCENTER, "test_a_guest_that_does_not_quiesce_may_be_told_as_any_fault", "Broadcom 301541"),
    ("P11", VSPHERE, "TestQuiescing", "vmware/open-vm-tools#27, #372, #650, #7"),
    ("P12", VSPHERE, "TestRawDevices", "vSphere Storage 7.0; vSphere Virtual Machine Administration"),
    (
        "P13",
        "unit/vsphere/test_sdk.py",
        "test_a_task_that_vcenter_has_forgotten_may_be_asked_for_again",
        "API reference, PropertyFilterUpdate",
    ),
    ("P14", GCP, "TestConsistencyGroups", "discovery document, InstantSnapshotGroup"),
    ("P15", GCP, "TestInstantSnapshots", "cloud.google.com/compute/docs/disks/instant-snapshots"),
    ("P15", GCP, "test_a_guest_flush_is_a_parameter", "discovery document, compute.disks.createSnapshot"),
    ("P16", OPENSTACK, "TestGateways", "neutron conf/policies/router.py"),
    ("P16", OPENSTACK, "test_name_servers_keep_their_order", "neutron db/models_v2.py"),
    ("P16", OPENSTACK, "test_a_locked_server_is_not_asked_again", "nova exception.py, InstanceIsLocked"),
    ("P16", "unit/openstack/test_groups.py", "TestWhatItIsWorth", "Block Storage API 3.14"),
    (
        "P16",
        NEUTRON,
        "test_a_user_gets_the_way_outside_back_and_is_told_of_its_addresses",
        "the lab's Neutron 29",
    ),
    ("L1", DISKS, "test_an_encrypted_disk_is_not_saved_in_clear", LAB),
    ("L1", "integration/test_libvirt_disks.py", "test_a_disk_that_qemu_encrypts_is_refused", LAB),
    ("L2", DISKS, "test_another_domain_gets_no_disk_of_the_original", LAB),
    ("L3", THREATS, "test_a_snapshot_whose_files_somebody_wrote_to_is_refused_and_told", LAB),
    ("L3", TRAPS, "test_a_snapshot_below_which_somebody_merged_is_refused_and_told", LAB),
    (
        "L4",
        "unit/libvirt/test_domain_xml.py",
        "test_firmware_variables_are_found_in_both_forms_and_a_new_domain_has_its_own",
        LAB,
    ),
    ("L5", THREATS, "test_there_is_no_safety_point_of_a_domain_that_is_not_there", LAB),
    ("L6", THREATS, "test_restoring_as_another_domain_takes_no_snapshot_of_the_first", LAB),
    (
        "L7",
        "unit/libvirt/test_kept.py",
        "test_a_restored_domain_has_its_first_files_again_and_nothing_stays_behind",
        LAB,
    ),
    ("L8", "unit/libvirt/test_backup.py", "test_a_virtual_tpm_that_is_not_saved_is_named", LAB),
    (
        "L9",
        "unit/libvirt/test_renamed.py",
        "test_its_snapshots_are_applied_and_removed_under_its_new_name",
        LAB,
    ),
    ("L10", THREATS, "test_a_domain_whose_memory_is_saved_is_read_without_being_started", LAB),
    (
        "L11",
        "unit/libvirt/test_assembling.py",
        "test_a_restore_that_is_killed_half_way_leaves_nothing_of_its_copy",
        LAB,
    ),
    (
        "L12",
        "unit/libvirt/test_transient.py",
        "test_it_is_restored_only_when_it_was_stopped_and_nothing_is_lost_before",
        LAB,
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[2]}")
def test_each_fault_has_its_test(row: tuple[str, str, str, str]) -> None:
    number, file, name, source = row
    print(f"{number:4} tests/{file}::{name} ({source})")
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_no_fault_is_left_out() -> None:
    known = [f"P{number}" for number in range(1, 17)] + [f"L{number}" for number in range(1, 13)]
    assert {row[0] for row in ROWS} == set(known)
