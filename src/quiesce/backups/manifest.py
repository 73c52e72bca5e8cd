"""What a complete backup of one instance says about itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from quiesce.errors import DamagedArtifactError, ForeignObjectError, UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import (
    BackupName,
    DeploymentName,
    ExecutionId,
    InstanceId,
    Json,
    backup_name,
    deployment_name,
)
from quiesce.model.restore_point import REPOSITORY, STORED_BYTES

if TYPE_CHECKING:
    from quiesce.repository import Point, PointItem, PointKey

_ITEM_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+:@%-]{0,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKey:
    """Whose backup it is, and of what."""

    deployment: DeploymentName
    point: BackupName
    instance: InstanceId

    def __str__(self) -> str:
        return f"{self.instance} in {self.point} of {self.deployment}"

    @property
    def point_key(self) -> PointKey:
        """What it is called in a repository."""
        from quiesce.repository import PointKey

        deployment, point = deployment_name(self.deployment), backup_name(self.point)
        return PointKey(deployment=deployment, point=point, instance=self.instance)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """One item of a backup."""

    name: str
    item: PointItem

    @property
    def size_bytes(self) -> int:
        """How large it is when it is restored."""
        return self.item.size_bytes

    def as_json(self) -> dict[str, Json]:
        """Return it as an artifact's ``files`` have it: its address is that of all its content."""
        return {
            "path": self.name,
            "kind": self.item.kind,
            "size_bytes": self.item.size_bytes,
            "address": self.item.root.hex(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that is needed to restore one instance without the catalog."""

    place: BackupKey
    execution: ExecutionId
    provider: str
    function: str
    #: as the provider saw it at the copy; the manifest of the restore point says what it is worth
    consistency: Consistency
    items: Mapping[str, StoredItem] = field(default_factory=dict)
    #: seconds since the epoch
    cut_at: float | None = None
    made_at: float = 0.0
    #: the provider's artifact: what `Call.artifact` is to be
    content: Mapping[str, Json] = field(default_factory=dict)
    note: str = ""

    @property
    def size_bytes(self) -> int:
        """How large everything is when it is restored."""
        return sum(item.size_bytes for item in self.items.values())

    def item(self, name: str) -> StoredItem:
        """Return the item of that name.

        Raises:
            DamagedArtifactError: when the backup has none.
        """
        found = self.items.get(name)
        if found is None:
            raise DamagedArtifactError(f"the backup of {self.place} has no {name!r}")
        return found

    def as_point(self) -> Point:
        """Return it as it is stored."""
        from quiesce.repository import Point

        return Point(
            key=self.place.point_key,
            made_at=self.made_at,
            items={name: stored.item for name, stored in self.items.items()},
            content={
                "execution": self.execution,
                "provider": self.provider,
                "function": self.function,
                "consistency": self.consistency.label,
                "cut_at": self.cut_at,
                "content": dict(self.content),
                "note": self.note,
            },
        )

    @classmethod
    def of(cls, point: Point) -> Manifest:
        """Read what `as_point` wrote.

        Raises:
            ForeignObjectError: when something else wrote it.
        """
        try:
            return cls._of(point, dict(point.content))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ForeignObjectError(f"the point {point.key} is no backup of an instance: {error}") from error

    @classmethod
    def _of(cls, point: Point, body: dict[str, Any]) -> Manifest:
        cut_at = body["cut_at"]
        return cls(
            place=BackupKey(
                deployment=DeploymentName(point.key.deployment),
                point=BackupName(point.key.point),
                instance=InstanceId(point.key.instance),
            ),
            execution=ExecutionId(str(body["execution"])),
            provider=str(body["provider"]),
            function=str(body["function"]),
            consistency=Consistency[str(body["consistency"]).upper()],
            items={name: StoredItem(name=name, item=item) for name, item in point.items.items()},
            cut_at=float(cut_at) if isinstance(cut_at, int | float) else None,
            made_at=point.made_at,
            content=dict(body["content"]),
            note=str(body["note"]),
        )


def artifact_of_items(items: Mapping[str, StoredItem], repository: str, stored_bytes: int) -> dict[str, Json]:
    """Return what an artifact says of the backup's items, and of the repository that they lie in."""
    listed: list[Json] = [item.as_json() for item in items.values()]
    size_bytes = sum(item.size_bytes for item in items.values())
    return {
        "files": listed,
        "size_bytes": size_bytes,
        STORED_BYTES: stored_bytes,
        REPOSITORY: repository,
    }


def item_name(text: str) -> str:
    """Return *text* as the name of an item.

    Raises:
        UsageError: when it could not be one, or the name of a file that a program writes.
    """
    if not _ITEM_NAME.fullmatch(text) or ".." in text:
        raise UsageError(f"{text[:60]!r} cannot be the name of an item of a backup")
    return text
