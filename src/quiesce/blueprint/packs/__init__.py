"""The type packs that blueprints import by name, and where their files are.

A pack is one or more YAML files: ``<pack>.yaml``, and ``<pack>_<major>_<minor>.yaml`` for what that DSL
version and later ones have besides. They are written in the shorthand of
`quiesce.blueprint.reading.shorthand` or in plain DSL. ``plugin:quiesce`` means our workflows and the node
types that every installed provider brings; ``plugin:<distribution>`` those of one other package.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from quiesce.provider_kit.installed import OWN_DISTRIBUTION, installed_providers

DIRECTORY: Final = Path(__file__).parent
OWN: Final = "quiesce"
TYPES: Final = "types"

_TYPES_FILE = re.compile(r"types(_\d+_\d+)?\.yaml")
_PLUGIN_FILE = re.compile(r"(v2_)?plugin(_\d+_\d+)?\.yaml")
#: our own file for Cloudify, as it lies in any environment
_OWN_FILE = re.compile(r".*/quiesce/cloudify/plugin(_\d+_\d+)?\.yaml")
_VERSIONED = re.compile(r"_(\d+)_(\d+)$")


def names() -> tuple[str, ...]:
    """Return the names that may follow ``plugin:``."""
    return (OWN, *sorted(_distributions()), *sorted(f"cloudify-{stem}-plugin" for stem in _clouds()))


def pack_for(text: str) -> str | None:
    """Return the pack that the import *text* means, or None when there is none for it."""
    if text.startswith("plugin:"):
        return _plugin_pack(text.removeprefix("plugin:").partition("?")[0].strip())
    path = text.partition("?")[0]
    if _OWN_FILE.fullmatch(path):
        return OWN
    file = path.rpartition("/")[2]
    if _TYPES_FILE.fullmatch(file) and ("/" in path):
        return TYPES
    return _pack_of_directories(path) if _PLUGIN_FILE.fullmatch(file) else None


def files_of(pack: str, version: tuple[int, int]) -> tuple[Path, ...]:
    """Return the files of *pack* for blueprints of *version*, the one that others rely on first."""
    if pack == OWN:
        return own_files(OWN_DISTRIBUTION, *sorted(_distributions()))
    if pack in _distributions():
        return own_files(pack)
    files = sorted((path for path in DIRECTORY.glob(f"{pack}*.yaml") if _stem(path) == pack), key=_since)
    return tuple(path for path in files if _since(path) <= version)


def own_files(*distributions: str) -> tuple[Path, ...]:
    """Return the files that the providers of *distributions* bring; ours have workflows, too."""
    workflows = [DIRECTORY / f"{OWN}.yaml"] if OWN_DISTRIBUTION in distributions else []
    brought = [each for each in installed_providers() if each.distribution in distributions]
    return (*workflows, *(each.node_types for each in brought if each.node_types is not None))


def _distributions() -> frozenset[str]:
    """Return the other distributions that bring providers."""
    return frozenset(each.distribution for each in installed_providers()) - {OWN_DISTRIBUTION}


def _clouds() -> frozenset[str]:
    """Return the packs that stand for plugins of Cloudify."""
    return frozenset(_stem(path) for path in DIRECTORY.glob("*.yaml")) - {TYPES, OWN}


def _plugin_pack(name: str) -> str | None:
    if name in {OWN, "quiesce-plugin"}:
        return OWN
    return name if name in _distributions() else _pack_of_directories(f"{name}/plugin.yaml")


def _pack_of_directories(path: str) -> str | None:
    """Return the pack whose name is that of the plugin's directory or repository in *path*."""
    known = _clouds()
    for part in reversed(path.split("/")[:-1]):
        name = part.removeprefix("cloudify-").removesuffix("-plugin")
        if name in known:
            return name
    return None


def _stem(path: Path) -> str:
    return _VERSIONED.sub("", path.stem)


def _since(path: Path) -> tuple[int, int]:
    found = _VERSIONED.search(path.stem)
    return (int(found[1]), int(found[2])) if found else (1, 0)
