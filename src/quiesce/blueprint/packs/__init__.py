"""The type packs that quiesce ships: what blueprints import by name, and where it is.

A pack is one or more YAML files: ``<pack>.yaml``, and ``<pack>_<major>_<minor>.yaml`` for what that DSL
version and later ones have besides. They are written in the shorthand of
`quiesce.blueprint.reading.shorthand` or in plain DSL.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent
#: all files of this directory together answer ``plugin:quiesce``
OWN: Final = "quiesce"
TYPES: Final = "types"

_TYPES_FILE = re.compile(r"types(_\d+_\d+)?\.yaml")
_PLUGIN_FILE = re.compile(r"(v2_)?plugin(_\d+_\d+)?\.yaml")
_VERSIONED = re.compile(r"_(\d+)_(\d+)$")


def names() -> tuple[str, ...]:
    """Return the names that may follow ``plugin:``."""
    stems = {_VERSIONED.sub("", path.stem) for path in DIRECTORY.glob("*.yaml")} - {TYPES}
    return (OWN, *sorted(f"cloudify-{stem}-plugin" for stem in stems))


def pack_for(text: str) -> str | None:
    """Return the pack that the import *text* means, or None when we ship none for it."""
    if text.startswith("plugin:"):
        return _plugin_pack(text.removeprefix("plugin:").partition("?")[0].strip())
    path = text.partition("?")[0]
    file = path.rpartition("/")[2]
    if _TYPES_FILE.fullmatch(file) and ("/" in path):
        return TYPES
    return _pack_of_directories(path) if _PLUGIN_FILE.fullmatch(file) else None


def files_of(pack: str, version: tuple[int, int]) -> tuple[Path, ...]:
    """Return the files of *pack* for blueprints of *version*, the one that others rely on first."""
    if pack == OWN:
        return tuple(
            sorted((DIRECTORY / OWN).glob("*.yaml"), key=lambda path: (path.stem != "base", path.stem))
        )
    files = sorted((path for path in DIRECTORY.glob(f"{pack}*.yaml") if _stem(path) == pack), key=_since)
    return tuple(path for path in files if _since(path) <= version)


def _plugin_pack(name: str) -> str | None:
    if name in {OWN, "quiesce-plugin"}:
        return OWN
    return _pack_of_directories(f"{name}/plugin.yaml")


def _pack_of_directories(path: str) -> str | None:
    """Return the pack whose name is that of the plugin's directory or repository in *path*."""
    known = {_stem(file) for file in DIRECTORY.glob("*.yaml")} - {TYPES}
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
