"""A hook of mkdocs: pages that lie beside docs/ are part of the site, and every decision is in its menu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BESIDE = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md"}


def on_config(config: Any) -> Any:
    """List the decisions in the menu."""
    pages = [f"decisions/{path.name}" for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    next(entry for entry in config.nav if "Decisions" in entry)["Decisions"] = pages
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages beside docs/."""
    from mkdocs.structure.files import File

    for name, page in BESIDE.items():
        text = (ROOT / name).read_text().replace("](docs/", "](").replace("](providers)", "](providers.md)")
        files.append(File.generated(config, page, content=_linked(text, "")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to those pages, and to the folder of the decisions, to where they are on the site."""
    first = min(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    return _linked(markdown, "../").replace("](decisions)", f"](decisions/{first})")


def _linked(text: str, to_the_root: str) -> str:
    for name, page in BESIDE.items():
        text = text.replace(f"]({to_the_root}{name}", f"]({page}")
    return text
