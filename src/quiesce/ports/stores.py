"""What the use cases ask of the store. Everything is durable when a method returns.

All of them raise `StoreError` when the database cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from quiesce.model.cut_size import Lasted
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json
from quiesce.model.manifest import PointManifest, RepositoryCondition, Survey
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan
from quiesce.model.policy import Policy, PolicyRun
from quiesce.model.restore_point import Proof, RestorePoint
from quiesce.ports.engine import Journal


class Deployments(Protocol):
    """The deployments that were initialized here."""

    def add(
        self, deployment: Deployment, runtime_properties: Mapping[InstanceId, Mapping[str, Json]]
    ) -> None:
        """Keep a new deployment.

        Raises:
            UsageError: when there is one of that name.
        """
        ...

    def renew(
        self, deployment: Deployment, runtime_properties: Mapping[InstanceId, Mapping[str, Json]]
    ) -> None:
        """Replace what is kept of a deployment itself; its executions and restore points stay."""
        ...

    def get(self, name: str) -> Deployment:
        """Return a deployment.

        Raises:
            UnknownNameError: listing those there are.
        """
        ...

    def list(self) -> Sequence[Deployment]:
        """Return every deployment, by name, without their topologies' instances being changed."""
        ...

    def names(self) -> Sequence[DeploymentName]:
        """Return every deployment's name, sorted; quick where there are thousands."""
        ...

    def remove(self, name: DeploymentName) -> None:
        """Forget a deployment and its executions. Its platform objects are not touched."""
        ...

    def runtime_properties(self, name: DeploymentName) -> Mapping[InstanceId, Mapping[str, Json]]:
        """Return the runtime properties of all instances that have any."""
        ...

    def set_runtime_properties(
        self, name: DeploymentName, instance: InstanceId, properties: Mapping[str, Json]
    ) -> None:
        """Replace the runtime properties of one instance. Safe from any thread."""
        ...


class Executions(Protocol):
    """The executions, their plans and their journals."""

    def add(self, execution: Execution, plan: Plan) -> None:
        """Keep a new execution, before anything of it is done."""
        ...

    def get(self, execution: str) -> Execution:
        """Return an execution.

        Raises:
            UnknownNameError: when there is none of that id.
        """
        ...

    def list(self, deployment: DeploymentName | None = None) -> Sequence[Execution]:
        """Return executions, oldest first."""
        ...

    def open_ones(self, deployment: DeploymentName | None = None) -> Sequence[Execution]:
        """Return those that have not ended, or that still owe a thaw."""
        ...

    def plan(self, execution: ExecutionId) -> Plan:
        """Return the plan that the execution was begun with.

        Raises:
            UnknownNameError: when there is no execution of that id.
            DamagedPlanError: when it is not what was written.
        """
        ...

    def remove(self, ids: Sequence[ExecutionId]) -> None:
        """Forget executions with all that was kept of them; one that runs or owes something stays."""
        ...

    def take_over(self, execution: ExecutionId) -> Journal:
        """Return the journal for writing; whoever held it before can write to it no more."""
        ...

    def journal(self, execution: ExecutionId) -> Journal:
        """Return the journal for reading only."""
        ...

    def update(self, execution: Execution) -> None:
        """Replace what is kept of the execution itself (state, end, what it owes)."""
        ...

    def ask_cancel(self, execution: ExecutionId, reason: str) -> None:
        """Request that the execution be cancelled."""
        ...

    def cancel_asked(self, execution: ExecutionId) -> str | None:
        """Return why it is to be cancelled; None: it is not."""
        ...

    def keep_durations(
        self, deployment: DeploymentName, lasted: Mapping[tuple[InstanceId, Operation], Lasted]
    ) -> None:
        """Remember how long operations lasted, for predicting the next frozen window."""
        ...

    def durations(self, deployment: DeploymentName) -> Mapping[tuple[InstanceId, Operation], Lasted]:
        """Return how long each operation lasted the last time."""
        ...


class Catalog(Protocol):
    """The restore points."""

    def save(self, point: RestorePoint) -> RestorePoint:
        """Keep *point* as it is now, whether it was known or not. Proofs already kept stay.

        Returned is what is kept: with its `sequence`, which no clock can change.
        """
        ...

    def get(self, deployment: DeploymentName, name: str) -> RestorePoint:
        """Return a restore point that is not removed.

        Raises:
            UnknownNameError: listing those there are.
        """
        ...

    def list(self, deployment: DeploymentName | None = None) -> Sequence[RestorePoint]:
        """Return restore points that are not removed, oldest first."""
        ...

    def newest(self, deployments: Sequence[DeploymentName]) -> Mapping[DeploymentName, RestorePoint]:
        """Return the newest complete restore point of each of *deployments* that has one."""
        ...

    def add_proof(self, deployment: DeploymentName, name: BackupName, proof: Proof) -> None:
        """Keep the result of a check."""
        ...


class Manifests(Protocol):
    """What is written of restore points next to their data, in repositories: directories, by their path.

    All of them raise `ProviderError` when the directory cannot be used, not `StoreError`.
    """

    def write(self, directory: str, manifest: PointManifest, *, known: bool = False) -> str:
        """Write *manifest*, or replace it, durably; return the digest of what was written.

        A damaged one is replaced only when it is *known* that it was the same restore point's.

        Raises:
            ForeignObjectError: when another execution made what is there. It was not touched.
        """
        ...

    def remove(self, directory: str, point: RestorePoint) -> None:
        """Remove the manifest that *point*'s execution made; it is fine when there is none.

        What another execution made stays, and so does a damaged one of which the catalog knows no digest.
        """
        ...

    def why_away(self, directory: str, identity: str = "") -> str:
        """Return why *directory* is no repository now (not mounted, say), or not the one of that *identity*.

        Empty when it is.
        """
        ...

    def condition(self, directory: str, newest: RestorePoint | None) -> RepositoryCondition:
        """Tell whether the next backup can go to *directory*, and *newest*, which lies there, be believed.

        Changes nothing.
        """
        ...

    def has_manifest(self, directory: str, deployment: DeploymentName, point: BackupName) -> bool:
        """Tell whether *directory* holds a manifest of that restore point, whoever made it."""
        ...

    def digest(self, directory: str, point: RestorePoint, instance: InstanceId | None = None) -> str | None:
        """Return the digest of *point*'s own manifest, or of its copy of *instance*; None: there is none."""
        ...

    def changed_since(self, directory: str, point: RestorePoint, at: float) -> bool:
        """Tell whether anything of *point* was changed or put there after *at*: its content is not read."""
        ...

    def survey(self, directory: str, deployment: DeploymentName) -> Survey:
        """Return what is there of *deployment*; what cannot be trusted is listed separately."""
        ...


class Policies(Protocol):
    """The policies of the deployments, and what became of their runs."""

    def save(self, saved: Sequence[Policy]) -> None:
        """Keep *saved*, each instead of the one of its name; all of them, or none."""
        ...

    def list(self, deployment: DeploymentName | None = None) -> Sequence[Policy]:
        """Return policies, by deployment and name."""
        ...

    def remove(self, deployment: DeploymentName, name: str) -> None:
        """Forget a policy and its runs; what it made stays.

        Raises:
            UnknownNameError: listing those there are.
        """
        ...

    def claim(self, run: PolicyRun) -> bool:
        """Keep a new run; false: there is one of that time already, and it is another process's."""
        ...

    def update(self, run: PolicyRun) -> None:
        """Keep what became of a run."""
        ...

    def runs(self, policy: Policy, limit: int) -> Sequence[PolicyRun]:
        """Return its last runs, newest first by the time they were due."""
        ...


class Lease(Protocol):
    """The right to run on one deployment. It ends when its holder's process does, however it ends."""

    def release(self) -> None:
        """Release it."""
        ...


class Leases(Protocol):
    """One mutating execution per deployment."""

    def acquire(self, deployment: DeploymentName, execution: ExecutionId) -> Lease:
        """Take the lease for *execution*, or fail at once.

        Raises:
            BusyError: naming the execution that holds it.
            StoreError: when nobody can be asked for it now.
        """
        ...

    def holder(self, deployment: DeploymentName) -> ExecutionId | None:
        """Return under which name a living process holds the lease; None when nobody does."""
        ...


class LiveDeployment(Protocol):
    """A deployment as its operations see it: intrinsic functions evaluated. Safe from many threads."""

    def properties(self, instance: InstanceId) -> Mapping[str, Json]:
        """Return the node properties of *instance*, evaluated. May hold secrets: never log or store it.

        Raises:
            NonRecoverableError: when a function cannot be evaluated; the message names it.
        """
        ...

    def inputs(self, instance: InstanceId, interface: str) -> Mapping[str, Json]:
        """Return the inputs that the blueprint gives an operation, evaluated; see `properties`."""
        ...

    def runtime_properties(self, instance: InstanceId) -> Mapping[str, Json]:
        """Return the runtime properties of *instance*."""
        ...

    def set_runtime_properties(self, instance: InstanceId, properties: Mapping[str, Json]) -> None:
        """Replace the runtime properties of *instance*, durably."""
        ...

    def secret(self, name: str) -> str:
        """Return a secret's value.

        Raises:
            NonRecoverableError: when there is none of that name.
        """
        ...
