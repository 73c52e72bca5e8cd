"""The way back from a restore, and looking before it, as an operator meets them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .shop import CommandLine

TREES = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}}
node_templates:
  uploads:
    type: quiesce.nodes.host.Directory
    properties: {path: {concat: [{get_input: data}, /uploads]}}
  pages:
    type: quiesce.nodes.host.Directory
    properties: {path: {concat: [{get_input: data}, /pages]}}
"""
TREE_NAMES = ("uploads", "pages")

#: one of them, and something of which nothing is kept
MIXED = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}}
node_templates:
  uploads:
    type: quiesce.nodes.host.Directory
    properties: {path: {concat: [{get_input: data}, /uploads]}}
  mail:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: mail.sh, apply: mail.sh, delete: mail.sh}
"""


class Trees:
    """Two directories, and what is in them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, text: str) -> None:
        for name in TREE_NAMES:
            (self.root / name).mkdir(parents=True, exist_ok=True)
            (self.root / name / "file").write_text(text)

    def read(self) -> set[str]:
        return {(self.root / name / "file").read_text() for name in TREE_NAMES}


@pytest.fixture
def trees(quiesce: CommandLine) -> Trees:
    """A deployment with a restore point of "saved", which goes on with "former"."""
    found = Trees(quiesce.directory / "srv")
    found.write("saved")
    (quiesce.directory / "trees.yaml").write_text(TREES)
    quiesce("init", "trees.yaml", "-b", "trees", "-i", f"data={found.root}")
    quiesce("backup", "trees", "-p", "snapshot_name=one", "-p", "snapshot_incremental=false")
    found.write("former")
    return found


@pytest.fixture
def reader(trees: Trees) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has a file of the deployment open."""
    with subprocess.Popen(["tail", "-f", trees.root / "pages" / "file"], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.read(1)
        yield program
        program.kill()


def test_a_restore_is_undone_and_done_again_by_one_command(quiesce: CommandLine, trees: Trees) -> None:
    planned = quiesce("plan", "restore", "trees", "-p", "snapshot_name=one").out
    assert "unknown, never measured here" in planned
    assert "quiesce restore --undo trees" in planned
    quiesce("restore", "trees", "-p", "snapshot_name=one")
    assert trees.read() == {"saved"}
    trees.write("written since")

    for expected in ("former", "written since", "former"):
        quiesce("restore", "--undo", "trees")
        assert trees.read() == {expected}

    planned = quiesce("plan", "restore", "trees", "-p", "snapshot_name=one").out
    assert "unknown" not in planned
    assert planned.count("kept: ") == 2
    assert quiesce("backups", "list", "trees").out.count("kept: ") == 2
    quiesce("restore", "--forget-undo", "trees")
    assert quiesce("restore", "--undo", "trees", status=5).err.count("undone") == 1
    assert sorted(path.name for path in trees.root.iterdir()) == sorted(TREE_NAMES)


def test_an_undo_is_of_the_last_restore_of_what_is_chosen(quiesce: CommandLine, trees: Trees) -> None:
    quiesce("restore", "trees", "-p", "snapshot_name=one")
    trees.write("second")
    quiesce("restore", "trees", "-p", "snapshot_name=one", "--include-nodes", "pages")

    quiesce("restore", "--undo", "trees")
    assert trees.read() == {"second"}, "the last restore has replaced one of them only"
    quiesce("restore", "--undo", "trees", "--include-nodes", "uploads")
    assert (trees.root / "uploads" / "file").read_text() == "former"


def test_all_that_is_wrong_is_told_before_anything_is_touched(
    quiesce: CommandLine, trees: Trees, reader: subprocess.Popen[bytes]
) -> None:
    (trees.root / "elsewhere").mkdir()
    uploads = trees.root / "uploads"
    (uploads / "file").unlink()
    uploads.rmdir()
    uploads.symlink_to("elsewhere/nowhere/uploads")
    for command in (("plan", "restore"), ("restore",)):
        told = quiesce(*command, "trees", "-p", "snapshot_name=one", status=5).err
        assert f"pid {reader.pid}" in told
        assert "tail -f" in told
        assert "uploads is a link that leads nowhere" in told
        assert "nothing was touched" in told
    assert (trees.root / "pages" / "file").read_text() == "former"
    assert uploads.is_symlink()
    [refused] = [
        quiesce("plan", "restore", "trees", "-p", "snapshot_name=one", "--json", status=5).json["plan"]
    ]
    assert refused["refused"]["exit_status"] == 5
    assert len(refused["users"]) == 1


def test_a_program_alone_in_the_way_is_in_use(
    quiesce: CommandLine, trees: Trees, reader: subprocess.Popen[bytes]
) -> None:
    told = quiesce("restore", "trees", "-p", "snapshot_name=one", status=5).err
    assert "[in-use]" in told
    assert "allow_in_use" in told
    quiesce("restore", "trees", "-p", "snapshot_name=one", "-p", "allow_in_use=true")
    assert trees.read() == {"saved"}
    assert reader.poll() is None


@pytest.mark.parametrize(
    "where",
    [
        "home",
        "home/below",
        "home/repository",
        "home/repository/trees/x",
        "link",
        "srv/pages",
        "srv/pages/new",
        "",
    ],
)
def test_nothing_is_written_into_what_is_quiesces_own_or_the_nodes(
    quiesce: CommandLine, trees: Trees, where: str
) -> None:
    """Nor around it; by no name. A repository would hold what was not stored in it."""
    home, here = quiesce.home, quiesce.directory
    (here / "link").symlink_to(home / "repository")
    names = [home / "repository", trees.root]
    before = [sorted(place.rglob("*")) for place in names]
    target = home.parent / where if where.startswith("home") or not where else here / where
    told = quiesce("restore", "trees", "-p", "snapshot_name=one", "--target", str(target), status=5).err
    assert "[target]" in told
    assert "nothing was touched" in told
    assert [sorted(place.rglob("*")) for place in names] == before
    assert trees.read() == {"former"}


def test_a_restore_point_is_written_below_a_directory(quiesce: CommandLine, trees: Trees) -> None:
    quiesce("restore", "trees", "-p", "snapshot_name=one", "--target", "look")
    assert trees.read() == {"former"}
    written = quiesce.directory / "look"
    assert {path.name.partition("_")[0] for path in written.iterdir()} == set(TREE_NAMES)
    assert {(path / "file").read_text() for path in written.iterdir()} == {"saved"}

    told = quiesce("restore", "trees", "-p", "snapshot_name=one", "--target", "look", status=5).err
    assert told.count("there already") == 2
    assert "nothing was touched" in told


def test_a_restore_point_goes_into_another_deployment(quiesce: CommandLine, trees: Trees) -> None:
    staging = Trees(quiesce.directory / "staging")
    staging.write("staging")
    quiesce("init", "trees.yaml", "-b", "staging", "-i", f"data={staging.root}")
    before = quiesce.points("trees")

    quiesce("restore", "trees", "--to", "staging", "-p", "snapshot_name=one")

    assert staging.read() == {"saved"}
    assert trees.read() == {"former"}
    after = quiesce.points("trees")
    assert after["one"]["artifacts"] == before["one"]["artifacts"]
    assert quiesce.points("staging") == {}
    quiesce("restore", "--undo", "staging")
    assert staging.read() == {"staging"}


def test_instances_go_where_they_are_sent_or_nothing_is_touched(quiesce: CommandLine, trees: Trees) -> None:
    staging = Trees(quiesce.directory / "staging")
    staging.write("staging")
    quiesce("init", "trees.yaml", "-b", "staging", "-i", f"data={staging.root}")
    of = {
        (name, step["instance"].partition("_")[0]): step["instance"]
        for name in ("trees", "staging")
        for _, steps in quiesce("plan", "statistics", name, "--json").json["plan"]["groups"]
        for step in steps
    }
    uploads, pages = of["trees", "uploads"], of["trees", "pages"]
    go = ("restore", "trees", "--to", "staging", "-p", "snapshot_name=one", "--map")
    told = quiesce(*go, f"{uploads}={of['staging', 'pages']}", status=5).err
    assert f"{uploads}, {pages} would all go to" in told or f"{pages}, {uploads} would all go to" in told
    quiesce(*go, f"{uploads}=nobody_1", status=4)
    assert staging.read() == {"staging"}

    quiesce(*go, f"{uploads}={of['staging', 'pages']},{pages}=")
    assert (staging.root / "pages" / "file").read_text() == "saved"
    assert (staging.root / "uploads" / "file").read_text() == "staging"


def test_the_newest_good_restore_point_is_called_latest(quiesce: CommandLine, trees: Trees) -> None:
    quiesce("backup", "trees", "-p", "snapshot_name=two", "-p", "snapshot_incremental=false")
    trees.write("present")
    assert quiesce("backups", "show", "trees", "latest").out.startswith("restore point two")
    assert "two is proven" in quiesce("backups", "verify", "trees", "latest").out
    quiesce("restore", "trees", "-p", "snapshot_name=latest")
    assert trees.read() == {"former"}
    assert "AGE" in quiesce("backups", "list", "trees").out

    quiesce("backup", "trees", "-p", "snapshot_name=latest", status=2)
    quiesce("remove-backup", "trees", "-p", "snapshot_name=latest", status=4)


def test_what_does_not_come_back_is_said_before_and_the_rest_comes_back_as_told(
    quiesce: CommandLine,
) -> None:
    """The advice was an undo that would have been refused, and of the rest nothing was said."""
    uploads = quiesce.directory / "srv" / "uploads"
    uploads.mkdir(parents=True)
    (uploads / "file").write_text("saved")
    (quiesce.directory / "mail.sh").write_text("true\n")
    (quiesce.directory / "mixed.yaml").write_text(MIXED)
    made = quiesce("init", "mixed.yaml", "-b", "mixed", "-i", f"data={uploads.parent}", "--json")
    of = {each["node"]: each["id"] for each in made.json["deployment"]["topology"]["instances"].values()}
    quiesce("backup", "mixed", "-p", "snapshot_name=one")
    (uploads / "file").write_text("former")

    lost = f"{of['mail']}: there is no way back from this restore"
    undo = f"quiesce restore --undo mixed --include-instances {of['uploads']}"
    planned = quiesce("plan", "restore", "mixed", "-p", "snapshot_name=one").out
    assert f"to go back: {undo} ({of['uploads']})" in planned
    assert f"no way back: {of['mail']}" in planned
    assert f"warning: {lost}" in planned
    told = quiesce("restore", "mixed", "-p", "snapshot_name=one").out
    assert 0 < told.index(lost) < told.index("snapshot.apply")

    execution = quiesce.executions()[-1]["id"]
    advice = f"To go back: {undo}; nothing is kept of {of['mail']}"
    assert advice in quiesce("executions", "show", execution).out
    quiesce("restore", "--undo", "mixed", status=5)
    quiesce(*undo.split()[1:])
    assert (uploads / "file").read_text() == "former"


def test_no_undo_is_promised_of_what_is_not_kept(quiesce: CommandLine, trees: Trees) -> None:
    quiesce("restore", "trees", "-p", "snapshot_name=one", "--keep-undo", "0")
    shown = quiesce("executions", "show", quiesce.executions()[-1]["id"]).out
    assert "To go back" not in shown
    assert "there is no way back from this restore" in shown
    quiesce("restore", "--undo", "trees", status=5)
