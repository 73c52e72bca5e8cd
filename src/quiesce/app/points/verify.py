"""Check the stored data of restore points without changing anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from quiesce.app.hosts import other_host
from quiesce.app.points.asking import Cancelled, Checking, ask_verifiers, nobody, silently
from quiesce.app.points.manifests import (
    away_repositories,
    manifest_damage,
    manifest_difference,
    repositories,
)
from quiesce.app.points.naming import point_named
from quiesce.app.services import Services
from quiesce.errors import DamagedError, UnreachableError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId
from quiesce.model.parameters import VerifyFirst
from quiesce.model.restore_point import ELSEWHERE, Proof, RestorePoint, Trust

#: for so long a good proof is not repeated before a restore, in seconds
_FRESH_S: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What one check found."""

    #: by instance; None: nothing can check it without restoring
    results: Mapping[InstanceId, Proof | None]
    #: what is wrong with the restore point's own manifests; empty: nothing
    manifest: str = ""
    #: why an instance could not be looked at: that is no damage
    unreachable: Mapping[InstanceId, str]

    @property
    def damages(self) -> Mapping[str, str]:
        """What is wrong, by the name of the instance or ``manifest``."""
        own = {"manifest": self.manifest} if self.manifest else {}
        return own | {i: p.detail for i, p in self.results.items() if p is not None and not p.passed}

    def proof(self, at: float) -> Proof | None:
        """Return it as a proof of the restore point; None when it says neither yes nor no."""
        told = {i: proof for i, proof in self.results.items() if proof is None or proof.kind != ELSEWHERE}
        proofs = [proof for proof in told.values() if proof is not None]
        if self.damages:
            detail = "; ".join(f"{name}: {damage}" for name, damage in self.damages.items())
            instances = () if self.manifest else tuple(InstanceId(name) for name in self.damages)
            kind = proofs[0].kind if proofs else "checksums"
            return Proof(at=at, kind=kind, passed=False, detail=detail, damaged=instances)
        if self.unreachable or not proofs:
            return None
        read = sum(proof.read for proof in proofs)
        partial = read < len(told)
        detail = f"{read} of {len(told)} instances read" if partial else f"{read} instances read"
        return Proof(
            at=at, kind="checksums" if read else proofs[0].kind, passed=True, detail=detail, partial=partial
        )


def verify(
    services: Services, deployment: str, name: str, checking: Checking = silently
) -> tuple[RestorePoint, Verification]:
    """Check every artifact of a restore point and its manifests, and keep the result as a proof of it.

    Raises:
        UnknownNameError: when there is no such deployment or restore point.
    """
    found = services.deployments.get(deployment)
    point = point_named(services, found.name, name)
    whole = {artifact.instance for artifact in point.artifacts}
    began = services.clock.now()
    elsewhere = _on_other_host(services, point)
    checked = _check(services, found, point, whole - elsewhere.keys(), checking=checking)
    checked = replace(checked, unreachable={**checked.unreachable, **elsewhere})
    return _kept(services, point, checked, began), checked


def refuse_damaged(
    services: Services,
    deployment: Deployment,
    point: RestorePoint,
    instances: Collection[InstanceId],
    *,
    mode: VerifyFirst,
    cancelled: Cancelled = nobody,
    checking: Checking = silently,
) -> None:
    """Check what a restore of *instances* will read, before anything is touched; all that is wrong is told.

    Raises:
        DamagedError: when any of it is damaged, or its last check has failed.
        UnreachableError: when any of it cannot be looked at.
        CancelledError: when it was cancelled meanwhile.
    """
    refuse_found_damaged(point, instances)
    began = services.clock.now()
    if mode is not VerifyFirst.FULL or _is_fresh(services, deployment, point, began):
        _refuse_other_manifests(services, deployment, point, instances)
        return
    checked = _check(services, deployment, point, instances, cancelled=cancelled, checking=checking)
    if checked.damages or set(instances) >= {artifact.instance for artifact in point.artifacts}:
        _kept(services, point, checked, began)
    if checked.damages:
        raise DamagedError(f"{_damage_text(point, checked)}; nothing was touched")
    if checked.unreachable:
        raise unreachable_error(point, checked)


def refuse_found_damaged(point: RestorePoint, instances: Collection[InstanceId]) -> None:
    """Refuse a restore point whose last check has failed.

    Raises:
        DamagedError: when that check found something wrong with *instances*.
    """
    if point.trust is not Trust.DAMAGED:
        return
    refuse_damaged_entry(point)
    last = point.proofs[-1]
    if not last.damaged or set(last.damaged).intersection(instances):
        raise DamagedError(
            f"{point.name} is damaged, its last check says: {last.detail}; nothing was touched",
            hint="Restore from another restore point, or only instances that are whole; if this one was "
            f"repaired: quiesce backups verify {point.deployment} {point.name}",
        )


def _refuse_other_manifests(
    services: Services, deployment: Deployment, point: RestorePoint, instances: Collection[InstanceId]
) -> None:
    """Refuse copies that are not there, or whose manifests are not the ones that the catalog knows.

    That costs nothing to see.
    """
    kept = repositories(services, deployment, instances) if point.full else {}
    away = away_repositories(services, point, kept)
    there = {i: where for i, where in kept.items() if where not in away}
    results = {
        artifact.instance: Proof(at=services.clock.now(), kind="checksums", passed=False, detail=damage)
        for artifact in point.artifacts
        if (damage := manifest_damage(services, point, artifact, there.get(artifact.instance)))
    }
    own = _own_manifest_damage(services, point, set(there.values()))
    unreachable = {i: away[kept[i]] for i in instances if kept.get(i) in away}
    found = Verification(results=results, manifest=own, unreachable=unreachable)
    if found.damages:
        raise DamagedError(f"{_damage_text(point, found)}; nothing was touched")
    if found.unreachable:
        raise unreachable_error(point, found)


def refuse_damaged_entry(point: RestorePoint) -> None:
    """Refuse a restore point of which the catalog does not say any more what was written.

    Raises:
        DamagedError: when that is so.
    """
    if point.damage:
        raise DamagedError(
            f"{point.name} is damaged: {point.damage}; nothing was touched",
            hint=f"Bring it back from its repository: quiesce backups rebuild {point.deployment}",
        )


def unreachable_error(point: RestorePoint, checked: Verification) -> UnreachableError:
    """Return the error that tells what of *point* could not be looked at."""
    told = "; ".join(f"{instance}: {why}" for instance, why in checked.unreachable.items())
    return UnreachableError(f"{point.name} cannot be checked: {told}")


def _damage_text(point: RestorePoint, checked: Verification) -> str:
    damages = "; ".join(f"{name}: {damage}" for name, damage in checked.damages.items())
    return f"{point.name} is damaged: {damages}"


def _is_fresh(services: Services, deployment: Deployment, point: RestorePoint, now: float) -> bool:
    """Tell whether a good check is young, and nothing that it has read was changed since it began.

    One from the future is not: the clock was wrong, then or now.
    """
    if point.trust is not Trust.PROVEN or not 0 <= now - point.proofs[-1].at < _FRESH_S:
        return False
    held = {artifact.instance for artifact in point.artifacts}
    directories = set(repositories(services, deployment, held).values()) if point.full else set()
    began = point.proofs[-1].at
    return not any(services.manifests.changed_since(each, point, began) for each in directories)


def _kept(services: Services, point: RestorePoint, checked: Verification, began: float) -> RestorePoint:
    """Keep what was found; what was changed after the check *began* is not in it."""
    proof = checked.proof(began)
    if proof is not None:
        services.catalog.add_proof(point.deployment, point.name, proof)
    return services.catalog.get(point.deployment, point.name)


def _check(
    services: Services,
    deployment: Deployment,
    point: RestorePoint,
    instances: Collection[InstanceId],
    *,
    cancelled: Cancelled = nobody,
    checking: Checking,
) -> Verification:
    kept = repositories(services, deployment, instances) if point.full else {}
    away = away_repositories(services, point, kept)
    results: dict[InstanceId, Proof | None] = {}
    unreachable = {i: away[kept[i]] for i in instances if kept.get(i) in away}
    chosen = [a for a in point.artifacts if a.instance in instances and a.instance not in unreachable]
    for artifact in list(chosen):
        if damage := manifest_damage(services, point, artifact, kept.get(artifact.instance)):
            results[artifact.instance] = Proof(
                at=services.clock.now(), kind="checksums", passed=False, detail=damage
            )
            chosen.remove(artifact)
    answers = ask_verifiers(services, deployment, point, chosen, cancelled=cancelled, checking=checking)
    for instance, answer in answers.items():
        if isinstance(answer, str):
            unreachable[instance] = answer
        else:
            results[instance] = answer
    own = point.damage or _own_manifest_damage(services, point, set(kept.values()) - away.keys())
    return Verification(results=results, manifest=own, unreachable=unreachable)


def _on_other_host(services: Services, point: RestorePoint) -> Mapping[InstanceId, str]:
    """Return of which snapshots it is on another machine: copies are looked for in their repositories."""
    return {
        artifact.instance: f"it lies on {host}, and this is {services.host}"
        for artifact in point.artifacts
        if not point.full and (host := other_host(services, point.host, (artifact.provider,)))
    }


def _own_manifest_damage(services: Services, point: RestorePoint, directories: Collection[str]) -> str:
    if not point.manifest_sha256:
        return ""
    found = {directory: services.manifests.digest(directory, point) for directory in sorted(directories)}
    return "; ".join(
        f"the restore point's manifest in {directory} {manifest_difference(digest)}"
        for directory, digest in found.items()
        if digest != point.manifest_sha256
    )
