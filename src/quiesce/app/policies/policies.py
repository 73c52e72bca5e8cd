"""Policies as operators give them: read, checked, kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from quiesce.app.policies.schedule import check_schedule
from quiesce.app.services import Services
from quiesce.errors import UnknownNameError, UsageError
from quiesce.model.ids import Json
from quiesce.model.options import options_of
from quiesce.model.policy import PointKind, Policy, PolicyName, PolicyRules, policy_name
from quiesce.model.words import WrongValueError
from quiesce.planning import BACKUP, declared_options, read_parameters
from quiesce.storage.urls import parse_url

#: said by keys of a policy of their own
_OWN_KEYS: Final = {
    "snapshot_name": "the policy names its restore points",
    "snapshot_type": "it is the policy's name",
    "snapshot_incremental": "say kind: snapshot or kind: backup",
    "max_freeze": "say max_frozen",
    "min_consistency": "say at_least",
}


def read_policy(services: Services, deployment: str, name: Json, given: Mapping[str, Json]) -> Policy:
    """Return the policy that *given* describes; nothing is kept.

    Raises:
        UnknownNameError: when there is no such deployment.
        UsageError: for an unknown key or a value that is not accepted; it names what is right.
    """
    found = services.deployments.get(deployment)
    try:
        read_name = policy_name(name)
    except WrongValueError as error:
        raise UsageError(f"policy name: {error}") from None
    rules = _read_rules(read_name, given)
    if not rules.schedule:
        raise UsageError(f"policy {read_name} has no schedule", hint="Such as schedule: '30 2 * * *'.")
    check_schedule(rules)
    _check_chores(read_name, rules)
    _check_parameters(services, rules)
    return Policy(
        deployment=found.name, name=read_name, given=dict(given), rules=rules, since=services.clock.now()
    )


def keep_policies(services: Services, policies: Sequence[Policy]) -> None:
    """Keep *policies*, each instead of the one of its name; all of them, or none."""
    services.policies.save(policies)


def policy_named(services: Services, deployment: str, name: str) -> Policy:
    """Return a policy.

    Raises:
        UnknownNameError: when there is no such deployment or policy.
    """
    known = services.policies.list(services.deployments.get(deployment).name)
    found = next((each for each in known if each.name == name), None)
    if found is None:
        raise UnknownNameError("policy", name, [each.name for each in known])
    return found


def changed(services: Services, deployment: str, name: str, changes: Mapping[str, Json]) -> Policy:
    """Return the policy *name* with *changes*, whether there was one or not; None takes a key away."""
    found = services.deployments.get(deployment)
    before: Mapping[str, Json] = {}
    for each in services.policies.list(found.name):
        if each.name == name:
            before = each.given
    together = {key: value for key, value in {**before, **changes}.items() if value is not None}
    return read_policy(services, deployment, name, together)


def parameters_for(policy: Policy, point: str) -> Mapping[str, Json]:
    """Return what the backup that makes *point* is given."""
    rules = policy.rules
    given: dict[str, Json] = {
        **(rules.parameters or {}),
        "snapshot_name": point,
        "snapshot_type": policy.name,
        "snapshot_incremental": rules.kind.value == "snapshot",
        "min_consistency": rules.at_least.label,
    }
    if rules.max_frozen is not None:
        given["max_freeze"] = rules.max_frozen
    return given


def _read_rules(name: PolicyName, given: Mapping[str, Json]) -> PolicyRules:
    declared = {each.name: each for each in options_of(PolicyRules)}
    unknown = sorted(given.keys() - declared.keys())
    if unknown:
        raise UsageError(f"policy {name} has no key {unknown[0]!r}", hint=f"It takes {', '.join(declared)}.")
    fields = {}
    for key, value in given.items():
        try:
            fields[key] = declared[key].read(value)
        except WrongValueError as error:
            raise UsageError(f"{key} of policy {name}: {error}") from None
    return PolicyRules(**fields)


def _check_chores(name: PolicyName, rules: PolicyRules) -> None:
    if rules.prove_check and rules.prove_every is None:
        raise UsageError(f"policy {name} has a prove_check, but does not say prove_every")
    if rules.copy_to and rules.kind is not PointKind.BACKUP:
        raise UsageError(
            f"policy {name} copies to a second place, but makes snapshots",
            hint="A snapshot cannot leave its storage. Say kind=backup.",
        )
    for url in rules.copy_to:
        parse_url(url)


def _check_parameters(services: Services, rules: PolicyRules) -> None:
    for name, instead in _OWN_KEYS.items():
        if name in (rules.parameters or {}):
            raise UsageError(f"a policy's parameters cannot hold {name}: {instead}")
    read_parameters(
        BACKUP.name,
        rules.parameters or {},
        now=services.clock.now(),
        options=declared_options(services.descriptions),
    )
