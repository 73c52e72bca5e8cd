"""What documentation tests share: where the pages are, and the generator."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def docs() -> Path:
    """The directory of the pages."""
    return ROOT / "docs"


@pytest.fixture(scope="session")
def readme() -> str:
    """The text that a newcomer reads first."""
    return (ROOT / "README.md").read_text()


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """The script behind ``make docs``."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
