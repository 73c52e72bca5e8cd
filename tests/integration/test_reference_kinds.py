"""What blueprints mean, kind by kind: the reference parser is the judge of every generated case.

`QUIESCE_SIZE=nightly` asks about all; else every eighth of a kind, and what is decided differently.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from quiesce.blueprint import InvalidBlueprintError

from .reference_cases import KINDS, Case
from .test_reference_parser import Reference, ours, reference

__all__ = ["reference"]

STEP = 1 if os.environ.get("QUIESCE_SIZE") == "nightly" else 8

EQUAL, BOTH_REFUSE = "equal", "both refuse"
ONLY_WE_REFUSE, ONLY_THEY_REFUSE, ANOTHER_PLAN = "only we refuse", "only they refuse", "another plan"


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A difference that stays; each is told in docs/blueprints.md."""

    kind: str
    #: the names of the cases
    cases: str
    verdict: str
    why: str


DECIDED: Sequence[Decided] = (
    Decided(
        kind="functions",
        cases=".* in input default",
        verdict=ONLY_WE_REFUSE,
        why="a wrong function in an input's default is wrong, whether anything asks for the input or not",
    ),
    Decided(
        kind="policies",
        cases="of a group, null",
        verdict=ONLY_WE_REFUSE,
        why="a policy has a type",
    ),
    Decided(
        kind="errors",
        cases="null as a (group|required type)",
        verdict=ONLY_WE_REFUSE,
        why="a group has members, and a list of types names types",
    ),
    Decided(
        kind="interfaces",
        cases=".*executor.*",
        verdict=ONLY_THEY_REFUSE,
        why="no agents are installed, so a host_agent operation needs no host",
    ),
    Decided(
        kind="relationships",
        cases="twice|both kinds",
        verdict=ANOTHER_PLAN,
        why="both relationships to one target count; Cloudify's instances forget all but the last",
    ),
    Decided(
        kind="relationships",
        cases="connection by input",
        verdict=ONLY_THEY_REFUSE,
        why="a function may say how instances are connected",
    ),
    Decided(
        kind="input constraints",
        cases="written as two in one.*",
        verdict=ONLY_THEY_REFUSE,
        why="what is newer than the version that a blueprint names is understood",
    ),
    Decided(
        kind="errors",
        cases="dsl_definitions is (text|number)|(plugins|metadata) is null",
        verdict=ONLY_THEY_REFUSE,
        why="what nobody reads may be anything, and an empty section is none",
    ),
    Decided(
        kind="inheritance",
        cases="(node_types|data_types) null",
        verdict=ONLY_THEY_REFUSE,
        why="a type without content is an empty type; Cloudify breaks off with an error of its own",
    ),
)


def chosen(kind: str) -> Iterator[Case]:
    """Give the cases of *kind* that are asked about in this run."""
    for number, case in enumerate(KINDS[kind]()):
        if number % STEP == 0 or decided(kind, case) is not None:
            yield case


def decided(kind: str, case: Case) -> Decided | None:
    found = (each for each in DECIDED if each.kind == kind and re.fullmatch(each.cases, case.name))
    return next(found, None)


def verdict(reference: Reference, case: Case, directory: Path) -> tuple[str, str]:
    """Return how both answers compare, and what to look at when they differ."""
    files = case.texts()
    theirs = reference.ask(files, case.inputs)
    try:
        mine = ours(files, case.inputs, directory)
    except InvalidBlueprintError as error:
        return (ONLY_WE_REFUSE if "plan" in theirs else BOTH_REFUSE), str(error)
    if "plan" not in theirs:
        return ONLY_THEY_REFUSE, f"{theirs['kind']}: {theirs['error']}"
    different = {key: (mine[key], theirs["plan"][key]) for key in mine if mine[key] != theirs["plan"][key]}
    return (ANOTHER_PLAN if different else EQUAL), str(different)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_every_case_is_the_references_or_decided(reference: Reference, tmp_path: Path, kind: str) -> None:
    """Accepted alike with equal plans, or refused alike; what differs is listed, and differs as it says."""
    figures: Counter[str] = Counter()
    unexplained = {}
    for number, case in enumerate(chosen(kind)):
        found, told = verdict(reference, case, tmp_path / str(number))
        figures[found] += 1
        known = decided(kind, case)
        if found not in (EQUAL, BOTH_REFUSE) and (known is None or known.verdict != found):
            unexplained[case.name] = f"{found}: {told}"
    print(f"{kind}: {figures.total()} cases, {dict(figures)}")
    assert unexplained == {}
    wanted = {each.verdict for each in DECIDED if each.kind == kind}
    assert wanted <= set(figures), "what is decided as different is the same"


def test_the_names_of_cases_are_unique() -> None:
    """And there are enough of them."""
    total = 0
    for kind, cases in KINDS.items():
        names = Counter(case.name for case in cases())
        assert [name for name, count in names.items() if count > 1] == [], kind
        total += names.total()
    assert total >= 300
    print(f"{total} cases of {len(KINDS)} kinds")
