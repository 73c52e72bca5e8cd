"""What an operator may choose for one node or one execution."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json

E = TypeVar("E", bound=enum.StrEnum)


class Quiescing(enum.StrEnum):
    """Whether VMware Tools freeze the guest's file systems for the cut."""

    #: where Tools run and the blueprint does not freeze the machine itself; else a crash-consistent cut
    AUTO = "auto"
    #: or the cut fails
    ALWAYS = "always"
    NEVER = "never"


class Target(enum.StrEnum):
    """Where full copies go."""

    REPOSITORY = "repository"
    CLONE = "clone"


class PowerAfter(enum.StrEnum):
    """How a restored machine is left."""

    AS_AT_CUT = "as_at_cut"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Workflow parameter or operation input ``vsphere_<name>``, else node property ``protection.<name>``."""

    #: with the machine's memory; restoring it goes on where it was. Never quiesced
    memory: bool = False
    quiesce: Quiescing = Quiescing.AUTO
    #: how long the guest may take to quiesce (vSphere accepts 5 to 240); None: the platform's default
    quiesce_timeout_min: int | None = None
    #: go on without the disks that no snapshot can hold, and say so; else the cut is refused
    leave_out_disks: bool = False
    backup_to: Target = Target.REPOSITORY
    #: directory of the repository; None: the one quiesce was set up with
    repository: str | None = None
    #: names of where clones and restored machines go; None: next to the machine
    datastore: str | None = None
    folder: str | None = None
    #: restore a full copy as another machine of this name and leave the present one alone
    restore_to: str | None = None
    power_after: PowerAfter = PowerAfter.AS_AT_CUT

    @classmethod
    def of(cls, call: Call) -> Options:
        """Read the options of *call*.

        Raises:
            NonRecoverableError: when one has a value that cannot be meant.
        """
        given = _Given(call)
        return cls(
            memory=given.flag("memory"),
            quiesce=given.choice("quiesce", Quiescing.AUTO),
            quiesce_timeout_min=given.minutes("quiesce_timeout_min"),
            leave_out_disks=given.flag("leave_out_disks"),
            backup_to=given.choice("backup_to", Target.REPOSITORY),
            repository=given.text("repository"),
            datastore=given.text("datastore"),
            folder=given.text("folder"),
            restore_to=given.text("restore_to"),
            power_after=given.choice("power_after", PowerAfter.AS_AT_CUT),
        )


class _Given:
    def __init__(self, call: Call) -> None:
        self._inputs: Mapping[str, Json] = {**call.parameters.raw, **call.inputs}
        protection = call.properties.get("protection")
        self._protection: Mapping[str, Json] = protection if isinstance(protection, dict) else {}

    def value(self, name: str) -> Json:
        value = self._inputs.get(f"vsphere_{name}")
        return self._protection.get(name) if value is None else value

    def flag(self, name: str) -> bool:
        value = self.value(name)
        if isinstance(value, bool):
            return value
        if value is None or value in ("true", "false"):
            return value == "true"
        raise _wrong(name, value, "true or false")

    def text(self, name: str) -> str | None:
        value = self.value(name)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            return value
        raise _wrong(name, value, "a text")

    def choice(self, name: str, default: E) -> E:
        value = self.value(name)
        kind = type(default)
        if value is None:
            return default
        if isinstance(value, str) and value in list(kind):
            return kind(value)
        raise _wrong(name, value, " or ".join(kind))

    def minutes(self, name: str) -> int | None:
        value = self.value(name)
        if value is None:
            return None
        text = str(value)
        if text.isdigit() and 5 <= int(text) <= 240:
            return int(text)
        raise _wrong(name, value, "a whole number of minutes from 5 to 240")


def _wrong(name: str, value: Json, right: str) -> NonRecoverableError:
    return NonRecoverableError(f"vsphere_{name} is {value!r}; it must be {right}")
