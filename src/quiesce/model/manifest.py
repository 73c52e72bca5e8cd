"""Manifests of restore points: what is written next to the data, to be known without the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json
from quiesce.model.restore_point import RestorePoint
from quiesce.model.topology import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class PointManifest:
    """A restore point of full copies as the catalog knows it, and what its artifacts are named after."""

    point: RestorePoint
    #: every instance of the deployment at that time
    instances: Mapping[InstanceId, Instance]
    #: may hold whatever scripts have put there
    runtime_properties: Mapping[InstanceId, Mapping[str, Json]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The complete copy of one instance that lies in a repository."""

    point: BackupName
    instance: InstanceId
    execution: ExecutionId


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something in a repository that does not belong into the catalog."""

    path: str
    reason: str
    #: whether it is not what was written (else it is incomplete, or somebody else's)
    damaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one repository holds of one deployment."""

    directory: str
    manifests: tuple[PointManifest, ...] = ()
    copies: frozenset[Copy] = frozenset()
    left_out: tuple[LeftOut, ...] = ()
    #: every deployment of which it holds a restore point
    deployments: frozenset[DeploymentName] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """The result of rebuilding a catalog."""

    #: in the catalog again
    added: tuple[RestorePoint, ...]
    #: in the catalog already, and not changed
    known: tuple[BackupName, ...]
    left_out: tuple[LeftOut, ...]
    #: the repositories that were looked at
    directories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryCondition:
    """Whether a repository can take the next backup, as far as it can be seen without writing to it."""

    #: what it lies on, or will lie on: a URL, or the directory, or the nearest one above that is there
    ground: str
    #: whether it was begun already
    begun: bool
    #: why nothing can be written to it; empty: it can
    why_read_only: str
    #: None: the storage does not tell
    free_bytes: int | None
    #: why what was written there last is not believed; empty: it is, or there is nothing
    distrust: str = ""
    #: what to do about that
    remedy: str = ""
