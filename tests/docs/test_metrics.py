"""The page about policies names every key and every metric that there is."""

from __future__ import annotations

import re
from pathlib import Path

from quiesce.model.options import options_of
from quiesce.model.policy import PolicyRules
from quiesce.reports.prometheus import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()


def first_cells() -> set[str]:
    """Return what the first column of its tables names."""
    cells = re.findall(r"^\| (`[^|]*`) \|", PAGE, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}


def test_every_key_and_every_metric_is_explained_and_no_other() -> None:
    keys = {each.name for each in options_of(PolicyRules)}
    assert first_cells() == keys | {f"quiesce_{name}" for name in METRICS}
