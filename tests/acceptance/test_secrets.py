"""A secret that a script prints, whole or in pieces, is in no file of ours and in nothing that is shown."""

from __future__ import annotations

from .shop import CommandLine

SECRET = "correct/horse+battery"

BLUEPRINT = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  app:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot:
        create:
          implementation: run.sh
          inputs: {password: {get_secret: word}}
"""
SCRIPT = """\
#!/bin/sh
echo "password: $password"
printf '%s\\n' "$password" | fold -w 12
printf '%s' "$password" | base64
ctx logger warning "used $password"
exit $STATUS
"""


def test_it_is_found_nowhere_afterwards(quiesce: CommandLine) -> None:
    """Database, write-ahead log, home, events, reports, errors: in a success and in a failure."""
    quiesce.environment = {"QUIESCE_SECRET_WORD": SECRET}
    (quiesce.directory / "app.yaml").write_text(BLUEPRINT)
    script = quiesce.directory / "run.sh"
    shown = ""
    for status, expected in ((0, 0), (7, 6)):
        script.write_text(SCRIPT.replace("$STATUS", str(status)))
        if status == 0:
            script.chmod(0o700)
            quiesce("init", "app.yaml", "-b", "app")
        else:
            script.write_text(script.read_text().replace("exit", 'echo "wrong: $password" >&2; exit'))
            script.chmod(0o700)
        answer = quiesce("backup", "app", "-p", "task_retries=0", status=expected)
        shown += answer.out + answer.err
    for execution in quiesce.executions():
        for command in (["events"], ["executions", "show"]):
            answer = quiesce(*command, execution["id"])
            shown += answer.out + answer.err
    assert "used ******" in shown
    for piece in (SECRET, SECRET[:12], SECRET[12:], "Y29ycmVjdC9ob3JzZStiYXR0ZXJ5"):
        assert piece not in shown
        for path in quiesce.home.rglob("*"):
            assert not path.is_file() or piece.encode() not in path.read_bytes(), (piece, path)
