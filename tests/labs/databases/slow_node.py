"""A node without a server, whose snapshot takes as long as a test wants the window to stay open."""

from __future__ import annotations

from pathlib import Path

_NODE = """\
  slow:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: slow.sh, apply: slow.sh, delete: "true.sh"}
"""


def slow_node(folder: Path) -> str:
    """Return its node template; its scripts, in *folder*, make `started`, and last while `slow` is there."""
    (folder / "slow.sh").write_text(
        f"touch {folder}/started; while [ -e {folder}/slow ]; do sleep 0.05; done\n"
    )
    (folder / "true.sh").write_text("true\n")
    (folder / "slow").touch()
    return _NODE
