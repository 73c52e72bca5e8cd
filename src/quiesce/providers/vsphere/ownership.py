"""How objects on vSphere are named and marked: a snapshot in its description, a machine in its settings."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from quiesce.model.call import Call
from quiesce.provider_kit.ownership import NameRule, Owner, point_of, read_text
from quiesce.providers.vsphere.inventory import MachineSnapshot, VirtualMachine

#: our settings in the configuration of machines that we made begin so
PREFIX: Final = "quiesce."
STATE: Final = f"{PREFIX}state"
REPLACED: Final = f"{PREFIX}replaced"
ARTIFACT: Final = f"{PREFIX}artifact"

#: vSphere writes these three in another way than they are given
_RULE: Final = NameRule(longest=80, illegal=r"[%/\\]")


class MachineState(enum.StrEnum):
    """How far a machine is that we make."""

    MAKING = "making"
    #: a clone has all its disks
    COMPLETE = "complete"
    #: a restored machine has all its disks
    READY = "ready"
    #: its disks have changed places with those of the machine that is restored
    SPENT = "spent"


def object_name(call: Call, suffix: str = "") -> str:
    """Return the name of what *call* makes: always the same for one instance and restore point."""
    return _RULE.name(call.instance, point_of(call), suffix=suffix)


def description_of(call: Call) -> str:
    """Return the description that marks a snapshot made for *call*."""
    return Owner.of(call).as_text()


def owner_of_snapshot(snapshot: MachineSnapshot) -> Owner | None:
    """Return who made *snapshot*; None when quiesce did not."""
    return Owner.read("", read_text(snapshot.description))


def marks_of(call: Call, state: MachineState) -> Mapping[str, str]:
    """Return the settings that mark a machine made for *call*."""
    return {**Owner.of(call).as_mark(PREFIX), STATE: state}


def no_marks(machine: VirtualMachine) -> Mapping[str, str]:
    """Return the settings that take all our marks off *machine*."""
    return dict.fromkeys(machine.marks, "")


def owner_of_machine(machine: VirtualMachine) -> Owner | None:
    """Return who made *machine*; None when quiesce did not."""
    return Owner.read(PREFIX, machine.marks)
