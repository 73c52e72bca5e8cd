"""A policy as a form, and what it would mean: its keys as ``quiesce policy set`` takes them."""

from __future__ import annotations

import enum
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from quiesce.app.points.prune import plan_pruning
from quiesce.app.policies.policies import changed, parameters_for
from quiesce.app.policies.schedule import due_times
from quiesce.app.run.run import preview
from quiesce.app.services import Services
from quiesce.app.values import read_value, write_value
from quiesce.errors import QuiesceError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.options import Option, options_of
from quiesce.model.policy import Policy, PolicyRules
from quiesce.model.report import PlanReport
from quiesce.model.request import WorkflowRequest
from quiesce.model.retention import RetentionPlan
from quiesce.planning import BACKUP

#: keys that name a command of this machine: whoever may run commands here has its command line
COMMANDS: Final = frozenset({"prove_check"})
#: the keys in the order of the form; what is in none of them comes last
_SECTIONS: Final = {
    "When": ("schedule", "timezone", "jitter", "catch_up"),
    "What": ("kind", "max_frozen", "at_least", "parameters", "copy_to"),
    "What is kept": ("keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_within"),
    "Checks": ("verify_every", "prove_every", "prove_check"),
    "Who is told": ("notify", "dead_man", "overdue_after"),
}
#: of the runs to come, so many are shown
_RUNS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyField:
    """One key of a policy in the form."""

    name: str
    help: str
    #: as the command line would be given it; empty: the key is left out
    text: str
    default: str
    #: the words that it takes; empty: any text
    choices: tuple[str, ...] = ()
    #: shown only
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """What keeping a form would change, and what the policy would do then."""

    policy: Policy
    #: keys with their text before and after, empty where the key is left out
    keys: Mapping[str, tuple[str, str]]
    #: the command that does the same
    command: str
    #: the next times at which it is due
    due: tuple[float, ...]
    #: what retention means for the restore points that there are; None: it removes nothing, ever
    retention: RetentionPlan | None
    #: what a run would do now; None: it cannot be planned, *refused* says why
    run: PlanReport | None
    refused: QuiesceError | None


def sections(given: Mapping[str, Json]) -> Mapping[str, tuple[PolicyField, ...]]:
    """Return the form of a policy of which *given* is kept."""
    return _sections({name: write_value(value) for name, value in given.items()})


def sections_of(form: Mapping[str, str], given: Mapping[str, Json]) -> Mapping[str, tuple[PolicyField, ...]]:
    """Return the form as somebody has filled it in, where keys of *given* stay that it lacks."""
    kept = {name: write_value(value) for name, value in given.items()}
    return _sections(kept | {name: text for name, text in form.items() if name not in COMMANDS})


def _sections(texts: Mapping[str, str]) -> Mapping[str, tuple[PolicyField, ...]]:
    fields = {each.name: _field(each, texts.get(each.name, "")) for each in options_of(PolicyRules)}
    found = {title: tuple(fields.pop(name) for name in names) for title, names in _SECTIONS.items()}
    return found | ({"More": tuple(fields.values())} if fields else {})


def _field(option: Option, text: str) -> PolicyField:
    return PolicyField(
        name=option.name,
        help=option.help,
        text=text,
        default=_word(option.default) if _choices(option) else option.default_text,
        choices=_choices(option),
        fixed=option.name in COMMANDS,
    )


def _choices(option: Option) -> tuple[str, ...]:
    if isinstance(option.default, bool):
        return ("true", "false")
    return tuple(map(_word, type(option.default))) if isinstance(option.default, enum.Enum) else ()


def _word(value: object) -> str:
    if isinstance(value, Consistency):
        return value.label
    return str(value.value) if isinstance(value, enum.Enum) else json.dumps(value)


def changes_in(form: Mapping[str, str], given: Mapping[str, Json]) -> dict[str, Json]:
    """Return what *form* changes of *given*; None takes a key away. What names a command stays as it is."""
    changes: dict[str, Json] = {}
    for each in options_of(PolicyRules):
        if each.name in form and each.name not in COMMANDS:
            text = form[each.name].strip()
            value = read_value(text) if text else None
            if value != given.get(each.name):
                changes[each.name] = value
    return changes


def kept_keys(services: Services, deployment: str, name: str) -> Mapping[str, Json]:
    """Return the keys of the policy *name* as it is now; none when there is no such policy."""
    found = services.policies.list(services.deployments.get(deployment).name)
    return next((each.given for each in found if each.name == name), {})


def version_of(given: Mapping[str, Json]) -> str:
    """Return a word that is another one once somebody has changed *given*."""
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]


def command_of(deployment: str, name: str, changes: Mapping[str, Json]) -> str:
    """Return the command that makes *changes*."""
    words = [f"{key}={'null' if value is None else write_value(value)}" for key, value in changes.items()]
    return shlex.join(["quiesce", "policy", "set", deployment, name, *words])


def foresee(services: Services, deployment: str, name: str, form: Mapping[str, str]) -> PolicyChange:
    """Return what keeping *form* would do; nothing is kept.

    Raises:
        UnknownNameError: when there is no such deployment.
        UsageError: for a value that is not accepted; it names what is right.
    """
    given = kept_keys(services, deployment, name)
    changes = changes_in(form, given)
    policy = changed(services, deployment, name, changes)
    now = services.clock.now()
    run, refused = _run_now(services, policy)
    return PolicyChange(
        policy=policy,
        keys={key: (_text(given.get(key)), _text(value)) for key, value in changes.items()},
        command=command_of(deployment, name, changes),
        due=tuple(islice(due_times(policy, now, float("inf")), _RUNS)),
        retention=None if _keeps_all(policy) else plan_pruning(services, deployment, policy.retention),
        run=run,
        refused=refused,
    )


def _run_now(services: Services, policy: Policy) -> tuple[PlanReport | None, QuiesceError | None]:
    parameters = parameters_for(policy, policy.name)
    request = WorkflowRequest(deployment=policy.deployment, workflow=BACKUP.name, parameters=parameters)
    try:
        return preview(services, request), None
    except QuiesceError as error:
        return None, error


def _keeps_all(policy: Policy) -> bool:
    rules = policy.rules
    counts = (rules.keep_last, rules.keep_daily, rules.keep_weekly, rules.keep_monthly, rules.keep_within)
    return all(each is None for each in counts)


def _text(value: Json) -> str:
    return "" if value is None else write_value(value)
