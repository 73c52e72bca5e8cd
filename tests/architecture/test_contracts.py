"""The rules of .importlinter are broken on purpose, and each break is reported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "quiesce"
#: every layer and every provider: where an import is planted
PLACES = sorted(
    path.relative_to(SOURCES)
    for folder in (SOURCES, SOURCES / "providers")
    for path in folder.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
    if path.name not in ("__init__.py", "providers")
)
#: who may import it: nothing is planted there
OWNER = Path("providers/libvirt")
_LINT = """
import sys
sys.path[:0] = ["src", "."]
from importlinter.cli import lint_imports
sys.exit(lint_imports(cache_dir=None, no_cache=True))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return the root of a copy of this project, as far as its contracts look at it."""
    shutil.copytree(SOURCES, tmp_path / "src" / "quiesce", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "architecture", tmp_path / "tests" / "architecture")
    (tmp_path / "tests" / "__init__.py").touch()
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def plant(copy: Path, place: Path, line: str) -> str:
    """Write *line* into a module of *place*; return the module's name."""
    path = copy / "src" / "quiesce" / place
    path = path / "__init__.py" if path.is_dir() else path
    with path.open("a") as file:
        file.write(f"\n{line}\n")
    return ".".join(("quiesce", *place.with_suffix("").parts))


def broken(copy: Path) -> str:
    """Return what the contracts say about the copy; they must not be kept."""
    done = subprocess.run(
        [sys.executable, "-c", _LINT], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_an_import_of_an_sdk_is_reported_wherever_it_is_planted(copy: Path) -> None:
    """Whatever is not listed for a module is not allowed to it: in every layer, and in every provider."""
    planted = [plant(copy, place, "import libvirt") for place in PLACES if place != OWNER]
    assert len(planted) > 25
    said = broken(copy)
    for name in planted:
        assert re.search(rf"^- {re.escape(name)} imports libvirt \(line \d+\)$", said, re.MULTILINE), name


def test_a_package_that_nobody_listed_is_reported_in_every_layer(copy: Path) -> None:
    """Inside functions, too: an import is found wherever it stands."""
    planted = [plant(copy, place, "def _f() -> None:\n    import numpy") for place in PLACES]
    said = broken(copy)
    for name in planted:
        assert f"- {name} imports numpy" in said


@pytest.mark.parametrize("module", ["time", "os", "pathlib", "random", "shutil", "http.client", "secrets"])
def test_the_core_may_not_read_clocks_or_do_input_and_output(copy: Path, module: str) -> None:
    core = [Path(name) for name in ("engine", "model", "planning", "ports", "errors.py")]
    planted = [plant(copy, place, f"import {module}") for place in core]
    said = broken(copy)
    for name in planted:
        assert f"- {name} imports {module.partition('.')[0]}" in said


def test_a_permission_that_nobody_uses_is_reported(copy: Path) -> None:
    config = copy / ".importlinter"
    config.write_text(
        config.read_text().replace("    click: quiesce.cli", "    click: quiesce.cli quiesce.app")
    )
    assert "nothing in quiesce.app imports click" in broken(copy)


@pytest.mark.parametrize(
    ("place", "line", "contract"),
    [
        ("model", "from quiesce.planning import registry", "Imports point down"),
        ("providers/host", "from quiesce.engine import runner", "Adapters answer ports"),
        ("providers/host", "from quiesce.providers import gcp", "Providers do not know one another"),
        (
            "blueprint/reading",
            "from quiesce.blueprint import instances",
            "A blueprint goes through the rooms",
        ),
    ],
)
def test_an_import_that_does_not_point_down_is_reported(
    copy: Path, place: str, line: str, contract: str
) -> None:
    plant(copy, Path(place), line)
    assert re.search(rf"{contract}.* BROKEN", broken(copy))


def test_a_circle_is_reported_below_the_top_floor_too(copy: Path) -> None:
    """Two modules of one provider that need each other: no layer is crossed, and still it is a circle."""
    plant(copy, Path("providers/fake/world.py"), "from quiesce.providers.fake import machine")
    assert re.search(r"No circles, on any floor BROKEN", broken(copy))


def test_a_module_on_the_top_floor_that_nobody_placed_is_reported(copy: Path) -> None:
    (copy / "src" / "quiesce" / "helpers.py").write_text('"""Everything."""\n')
    assert "helpers" in broken(copy)
