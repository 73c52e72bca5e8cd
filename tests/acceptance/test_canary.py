"""Every secret of a deployment is a known random word: after all workflows it is searched everywhere."""

from __future__ import annotations

import secrets

import pytest

from .canaries import forms_of, holding, said, watching
from .shop import CommandLine

BLUEPRINT = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}}
node_types:
  my.App:
    derived_from: cloudify.nodes.Compute
    properties: {token: {type: string, default: {get_secret: token}}}
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {path: {get_input: data}}
  app:
    type: my.App
    interfaces:
      cloudify.interfaces.freeze:
        fs_prepare: &run {implementation: run.sh, inputs: {password: {get_secret: word}}}
        fs_finalize: *run
        suspend: *run
        resume: *run
      cloudify.interfaces.snapshot: {create: *run, apply: *run, delete: *run}
      cloudify.interfaces.statistics: {perfomance: *run}
"""
SCRIPT = """\
#!/bin/sh
echo "password: $password"
printf '%s\\n' "$password" | fold -w 9
printf '%s' "$password" | base64
ctx logger warning "used $password"
ctx logger info "token $(ctx node properties token)"
echo "failed with $password" >&2
sleep 0.1
[ ! -e broken ]
"""
#: whether it fails, and what is run
RUNS = (
    (False, ("backup", "-p", "snapshot_name=one")),
    (False, ("backup", "-p", "snapshot_name=two", "-p", "snapshot_incremental=false")),
    (True, ("backup", "-p", "snapshot_name=bad", "-p", "task_retries=0")),
    (False, ("suspend",)),
    (False, ("resume",)),
    (False, ("statistics",)),
    (False, ("restore", "-p", "snapshot_name=one")),
    (
        True,
        ("restore", "-p", "snapshot_name=two", "-p", "snapshot_incremental=false", "-p", "task_retries=0"),
    ),
    (False, ("remove-backup", "-p", "snapshot_name=one")),
    (False, ("plan", "backup")),
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_secret_is_left_or_shown_anywhere(quiesce: CommandLine) -> None:
    """Database, home, repository, temporary files, arguments and environment of others, all that is shown."""
    words = {"word": f"quokka-{secrets.token_hex(12)}", "token": f"wombat/{secrets.token_hex(12)}"}
    temporary = quiesce.directory / "tmp"
    temporary.mkdir()
    quiesce.environment = {"TMPDIR": str(temporary)}
    _deploy(quiesce, words)
    forms = forms_of(words.values())
    shown = []
    with watching(forms) as seen:
        for fails, (command, *more) in RUNS:
            if fails:
                (quiesce.directory / "broken").touch()
            arguments = (command, *more, "app") if command == "plan" else (command, "app", *more)
            process = quiesce.start(*arguments)
            shown += process.communicate(timeout=120)
            assert fails == (process.returncode not in {0, 8}), (arguments, shown[-2:])
            (quiesce.directory / "broken").unlink(missing_ok=True)
    for execution in quiesce.executions():
        name = execution["id"]
        shown += said(quiesce, "events", name)
        shown += said(quiesce, "executions", "show", name)
        shown += said(quiesce, "report", name, "-o", str(quiesce.directory / f"{name}.html"))
    everything = "\n".join(shown)
    assert "used ******" in everything
    assert [form for form in forms if form in everything.encode()] == []
    assert seen == set()
    places = (quiesce.home, temporary, quiesce.directory)
    assert [path for place in places for path in holding(place, forms)] == [quiesce.home / "secrets.yaml"]


def _deploy(quiesce: CommandLine, words: dict[str, str]) -> None:
    data = quiesce.directory / "data"
    data.mkdir()
    (data / "file").write_text("nothing secret")
    (quiesce.directory / "app.yaml").write_text(BLUEPRINT)
    (quiesce.directory / "run.sh").write_text(SCRIPT)
    (quiesce.directory / "run.sh").chmod(0o700)
    quiesce.home.mkdir(mode=0o700)
    kept = quiesce.home / "secrets.yaml"
    kept.touch(mode=0o600)
    kept.write_text("".join(f"{name}: {word}\n" for name, word in words.items()))
    quiesce("init", "app.yaml", "-b", "app", "-i", f"data={data}")
