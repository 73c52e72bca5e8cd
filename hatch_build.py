"""Project URLs of a wheel: where its sources were cloned from, or what ``QUIESCE_PROJECT_URL`` says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: below the project's page, as every forge in use has them
_PAGES = {
    "Homepage": "",
    "Documentation": "/tree/main/docs",
    "Issues": "/issues",
    "Changes": "/tree/main/changes",
}


class ProjectUrls(MetadataHookInterface):
    """Adds the URLs where any are known; sources that were unpacked keep those that they came with."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``urls``."""
        page = os.environ.get("QUIESCE_PROJECT_URL") or _cloned_from(Path(self.root))
        urls = {name: page + below for name, below in _PAGES.items()} if page else _unpacked(Path(self.root))
        metadata["urls"] = urls


def _cloned_from(root: Path) -> str:
    """Return the page of the repository that *root* was cloned from; empty: it is none, or no page."""
    if not (root / ".git").exists():
        return ""
    done = subprocess.run(
        ["git", "-C", str(root), "remote", "get-url", "origin"], capture_output=True, text=True, check=False
    )
    address = re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", done.stdout.strip())
    return address.removesuffix(".git") if re.fullmatch(r"https://[^@]+", address) else ""


def _unpacked(root: Path) -> dict[str, str]:
    try:
        told = (root / "PKG-INFO").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    return dict(re.findall(r"^Project-URL: ([^,]+), (\S+)$", told, flags=re.MULTILINE))
