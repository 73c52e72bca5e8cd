"""What the far side runs to thaw by itself is what the blueprint means, functions and all."""

from __future__ import annotations

import json
from pathlib import Path

from ..sshd_on_loopback import needs_sshd, sshd  # noqa: TID252  shared by several tests
from .shop import CommandLine


@needs_sshd
def test_a_thaw_that_is_written_with_a_function_arms_the_timer(quiesce: CommandLine, tmp_path: Path) -> None:
    marker, data = tmp_path / "frozen", tmp_path / "data"
    data.mkdir()
    (tmp_path / "sshd").mkdir()
    with sshd(tmp_path / "sshd") as server:
        nodes = {
            "files": {"type": "quiesce.nodes.host.Directory", "properties": {"path": str(data)}},
            "service": {
                "type": "quiesce.nodes.terminal.Service",
                "properties": {
                    "terminal_auth": server.auth,
                    "freeze": [f"touch {marker}"],
                    "thaw": [{"concat": ["rm -f ", str(marker)]}],
                },
                "relationships": [{"type": "cloudify.relationships.connected_to", "target": "files"}],
            },
        }
        blueprint = {
            "tosca_definitions_version": "cloudify_dsl_1_3",
            "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
            "node_templates": nodes,
        }
        (quiesce.directory / "shop.yaml").write_text(json.dumps(blueprint))
        quiesce("init", "shop.yaml", "-b", "shop")
        told = quiesce("backup", "shop", "--max-freeze", "5m")
    assert "terminal.freeze" in told.out
    assert not marker.exists()
