"""A new operation is noticed: by the type checker in every provider, by tests where it cannot."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROVIDERS = sorted(path.parent.name for path in (ROOT / "src/quiesce/providers").glob("*/__init__.py"))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what mypy says after an operation was added as CONTRIBUTING.md tells."""
    copy = tmp_path_factory.mktemp("planted")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests/typing", copy / "tests/typing")
    shutil.copy(ROOT / "pyproject.toml", copy)
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", copy / ".mypy_cache", dirs_exist_ok=True)
    replace(
        copy / "src/quiesce/model/operation.py", '    MEASURE = "measure"', '    PLANTED = "planted", 1.0\n'
    )
    method = '    @abstractmethod\n    def planted(self, job: JobT, /) -> Outcome:\n        """Plant."""\n\n'
    replace(copy / "src/quiesce/provider_kit/dispatch.py", "    def is_frozen(self, job: JobT, /)", method)
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def replace(path: Path, before: str, planted: str) -> None:
    """Write *planted* before the first *before* in a file."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, planted + before, 1))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_mypy_names_every_provider(said: str, provider: str) -> None:
    """None of its kinds can be made until it says what the operation means there."""
    named = rf"src/quiesce/providers/{provider}/\S+: error: Cannot instantiate abstract class .*planted"
    assert re.search(named, said), said


def test_mypy_names_where_calls_are_led_to_their_methods(said: str) -> None:
    assert re.search(r"provider_kit/dispatch\.py:\d+: error: .*Operation\.PLANTED", said), said
