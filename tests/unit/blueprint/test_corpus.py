"""The 52 public blueprints of the corpus mean what the reference parser made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quiesce.blueprint import ImportPolicy, describe, load_blueprint

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
GOLDENS = sorted(CORPUS.glob("golden/*.json"))
PLUGINS = ("utilities", "libvirt", "openstack", "vsphere", "gcp")

pytestmark = pytest.mark.skipif(not GOLDENS, reason="the corpus is not at ../shared/corpus")


def corpus_types() -> ImportPolicy:
    """Import what the corpus holds, and none of our packs."""
    return ImportPolicy(
        packs=False,
        mappings=(
            ("types.yaml", CORPUS / "types" / "types_1_3.yaml"),
            *((name, CORPUS / "plugins" / f"cloudify-{name}-plugin" / "plugin.yaml") for name in PLUGINS),
        ),
    )


def described(golden: dict[str, Any], policy: ImportPolicy) -> dict[str, Any]:
    path = CORPUS / "blueprints" / golden["blueprint"]
    shown: dict[str, Any] = describe(load_blueprint(path, inputs=golden["inputs"], imports=policy))
    return shown


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_a_corpus_blueprint_means_what_its_golden_says(path: Path) -> None:
    """Nodes, hierarchies, instances, properties, relationships, operations, workflows, inputs are equal."""
    golden = json.loads(path.read_text())
    shown = described(golden, corpus_types())
    assert shown["plan"] == golden["plan"]
    assert golden["inputs"] in ({}, shown["inputs"])


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_a_corpus_blueprint_means_the_same_with_our_packs(path: Path) -> None:
    """What we ship for types.yaml and the plugins is what the blueprints rely on."""
    golden = json.loads(path.read_text())
    assert described(golden, ImportPolicy())["plan"] == golden["plan"]


def test_the_corpus_is_complete() -> None:
    """No golden got lost."""
    assert len(GOLDENS) == 52
