"""Bad input: a clear error, a documented exit status, nothing run and nothing lost."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus

from .shop import SHOP, CommandLine, Shop, eventually, small_disk, start_slow_backup

HEAD = "tosca_definitions_version: cloudify_dsl_1_3\nimports: [cloudify/types/types.yaml, plugin:quiesce]\n"


# -- names that are not there -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "known"),
    [
        (["backup", "shoop"], "there is: shop"),
        (["executions", "start", "bakcup", "-b", "shop"], "remove_backup, restore, resume"),
        (["backup", "shop", "-p", "snapshot_nam=one"], "snapshot_name"),
        (["backup", "shop", "--include-instances", "files_zzzzzz"], "files_"),
        (["backup", "shop", "--exclude-nodes", "file"], "files, orders"),
        (["backup", "shop", "--include-types", "cloudify.nodes.Computer"], "quiesce.nodes.host.Directory"),
        (["restore", "shop", "-p", "snapshot_name=never"], "there is: none"),
        (["executions", "show", "backup-0000000000"], "there is: none"),
    ],
    ids=["deployment", "workflow", "parameter", "instance", "node", "type", "restore point", "execution"],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    quiesce: CommandLine, shop: Shop, command: list[str], known: str
) -> None:
    with nothing_run(quiesce, shop):
        answer = quiesce(*command, status=ExitStatus.NOT_FOUND)
    assert "[unknown-name]" in answer.err
    assert known in answer.err


@pytest.mark.parametrize("workflow", ["restore", "remove-backup"])
def test_a_missing_snapshot_name_is_answered_with_those_there_are(
    quiesce: CommandLine, shop: Shop, workflow: str
) -> None:
    with nothing_run(quiesce, shop):
        answer = quiesce(workflow, "shop", status=ExitStatus.USAGE)
    assert "needs a snapshot_name; there is: none" in answer.err


# -- files that are none -----------------------------------------------------------------------------------


@pytest.mark.parametrize("special", ["pipe", "link to a pipe", "/dev/zero"])
@pytest.mark.parametrize(
    ("status", "command"),
    [
        (ExitStatus.USAGE, ["keys", "import", "FILE"]),
        (ExitStatus.USAGE, ["repository", "list", "/", "--key-file", "FILE"]),
        (ExitStatus.USAGE, ["repository", "keys", "import", "/", "FILE"]),
        (ExitStatus.USAGE, ["policy", "apply", "FILE"]),
        (ExitStatus.BLUEPRINT, ["blueprint", "show", "FILE"]),
        (ExitStatus.BLUEPRINT, ["init", "FILE", "-b", "new"]),
        (ExitStatus.USAGE, ["init", "app.yaml", "-b", "new", "-i", "FILE"]),
        (ExitStatus.BLUEPRINT, ["init", "imports.yaml", "-b", "new", "--map", "other=FILE"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_no_file_holds_nobody_up(
    quiesce: CommandLine, status: int, command: list[str], special: str
) -> None:
    """A pipe was waited for, for ever; a device was read, without an end."""
    file = _special(quiesce.directory, special)
    (quiesce.directory / "app.yaml").write_text(HEAD)
    (quiesce.directory / "imports.yaml").write_text(HEAD.replace("plugin:quiesce", "other"))
    answer = quiesce(*(each.replace("FILE", file) for each in command), status=status)
    assert "it is not a regular file" in answer.err


def _special(directory: Path, kind: str) -> str:
    if kind.startswith("/"):
        return kind
    path = directory / "pipe"
    os.mkfifo(path)
    if kind.startswith("link"):
        (directory / "link").symlink_to(path)
        return str(directory / "link")
    return str(path)


def test_keys_come_through_a_pipe_when_that_is_said(quiesce: CommandLine) -> None:
    (quiesce.directory / "keys").write_text(quiesce("keys", "export").out)
    with (quiesce.directory / "keys").open() as keys:
        assert "0 new keys" in quiesce("keys", "import", "-", stdin=keys).out
    (quiesce.directory / "link").symlink_to("keys")
    assert "0 new keys" in quiesce("keys", "import", "link").out


# -- values that are not accepted ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["one/two", "..", "a..b", "../../etc/passwd", "tab\there", "bell\x07", "new\nline", "n" * 5000, "", "-x"],
    ids=["slash", "dots", "inner dots", "path", "tab", "control", "newline", "5000", "empty", "option"],
)
def test_a_snapshot_name_that_could_harm_is_refused(quiesce: CommandLine, shop: Shop, name: str) -> None:
    how = ["backup"] if "/" in name else ["plan", "backup"]
    with nothing_run(quiesce, shop):
        answer = quiesce(*how, "shop", "-p", f"snapshot_name={name}", status=ExitStatus.USAGE)
    assert "is not allowed: it must be 1 to 128 letters" in answer.err
    assert len(answer.err) < 500


@pytest.mark.parametrize(
    "assignment",
    [
        "max_freeze=300x",
        "max_freeze=0",
        "parallel=0",
        "parallel=many",
        "snapshot_incremental=perhaps",
        "on_prepare_error=ignore",
        "min_consistency=perfect",
        "task_retries=1.5",
    ],
)
def test_a_value_that_is_not_accepted_says_what_would_be(
    quiesce: CommandLine, shop: Shop, assignment: str
) -> None:
    with nothing_run(quiesce, shop):
        answer = quiesce("plan", "backup", "shop", "-p", assignment, status=ExitStatus.USAGE)
    assert f"parameter {assignment.split('=')[0]}: " in answer.err
    assert " is not " in answer.err


def test_a_name_that_is_taken_is_refused(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "-p", "snapshot_name=one")
    with nothing_run(quiesce, shop):
        answer = quiesce("backup", "shop", "-p", "snapshot_name=one", status=ExitStatus.REFUSED)
        quiesce("init", "shop.yaml", "-b", "shop", "-i", f"data={shop.data}", status=ExitStatus.USAGE)
    assert "a restore point 'one' of shop already exists" in answer.err


def test_a_consistency_that_cannot_be_reached_is_refused_before_anything_is_frozen(
    quiesce: CommandLine, shop: Shop
) -> None:
    with nothing_run(quiesce, shop):
        answer = quiesce(
            "backup",
            "shop",
            "--include-nodes",
            "files",
            "--min-consistency",
            "application",
            status=ExitStatus.REFUSED,
        )
    assert "cannot be met by files_" in answer.err


# -- blueprints ---------------------------------------------------------------------------------------------


def test_an_unknown_type_is_named_with_its_place(quiesce: CommandLine) -> None:
    text = HEAD + "node_templates:\n  disk:\n    type: quiesce.nodes.host.Directry\n"
    answer = refused(quiesce, text)
    assert "shop.yaml" in answer
    assert ":5:" in answer
    assert "quiesce.nodes.host.Directory" in answer


def test_a_circle_of_imports_is_harmless_or_refused(quiesce: CommandLine) -> None:
    (quiesce.directory / "other.yaml").write_text("imports: [shop.yaml]\n")
    text = HEAD.replace("plugin:quiesce", "plugin:quiesce, other.yaml") + "node_templates: {}\n"
    (quiesce.directory / "shop.yaml").write_text(text)
    process = quiesce.start("init", "shop.yaml", "-b", "shop")
    _, err = process.communicate(timeout=60)
    assert process.returncode in (ExitStatus.OK, ExitStatus.BLUEPRINT)
    assert "Traceback" not in err


def test_a_circle_of_derivation_is_refused(quiesce: CommandLine) -> None:
    text = (
        HEAD
        + "node_types:\n  hen: {derived_from: egg}\n  egg: {derived_from: hen}\n"
        + "node_templates: {first: {type: hen}}\n"
    )
    answer = refused(quiesce, text)
    assert "hen" in answer
    assert "egg" in answer


def test_an_undefined_input_is_named(quiesce: CommandLine) -> None:
    text = HEAD + (
        "node_templates:\n  disk:\n    type: quiesce.nodes.host.Directory\n"
        "    properties: {path: {get_input: dta}}\n"
    )
    assert "dta" in refused(quiesce, text)


def test_an_input_that_is_not_declared_is_refused(quiesce: CommandLine) -> None:
    assert "'dat'" in refused(quiesce, SHOP, "-i", "data=/srv", "-i", "dat=/srv")


def test_a_missing_input_is_named(quiesce: CommandLine) -> None:
    assert "data" in refused(quiesce, SHOP)


def test_an_input_of_the_wrong_type_is_refused(quiesce: CommandLine) -> None:
    text = SHOP.replace("{data: {type: string}}", "{data: {type: string}, copies: {type: integer}}")
    answer = refused(quiesce, text, "-i", "data=/srv", "-i", "copies=several")
    assert "copies" in answer
    assert "integer" in answer


def test_a_yaml_bomb_is_refused(quiesce: CommandLine) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    text = HEAD + "dsl_definitions:\n  " + "\n  ".join(levels) + "\nnode_templates: {}\n"
    assert "shop.yaml" in refused(quiesce, text)


def test_a_blueprint_of_100_megabytes_is_refused_unread(quiesce: CommandLine) -> None:
    with (quiesce.directory / "shop.yaml").open("w") as file:
        file.write(SHOP)
        file.truncate(100 << 20)
    answer = quiesce("init", "shop.yaml", "-b", "shop", status=ExitStatus.BLUEPRINT)
    assert "MiB" in answer.err
    assert_no_deployment(quiesce)


def test_a_key_that_is_there_twice_is_refused(quiesce: CommandLine) -> None:
    answer = refused(quiesce, SHOP + "  files:\n    type: cloudify.nodes.Root\n", "-i", "data=/srv")
    assert "files" in answer


@pytest.mark.parametrize("text", ["[", "\x00", "- a list\n", ""], ids=["torn", "binary", "list", "empty"])
def test_what_is_no_blueprint_is_refused(quiesce: CommandLine, text: str) -> None:
    refused(quiesce, text)


def test_a_blueprint_that_is_not_there_is_refused(quiesce: CommandLine) -> None:
    answer = quiesce("init", "nowhere.yaml", "-b", "shop", status=ExitStatus.BLUEPRINT)
    assert "nowhere.yaml" in answer.err


@pytest.mark.parametrize("name", ["a/b", "..", "s" * 5000])
def test_a_deployment_name_that_could_harm_is_refused(quiesce: CommandLine, name: str) -> None:
    (quiesce.directory / "shop.yaml").write_text(SHOP)
    quiesce("init", "shop.yaml", "-b", name, "-i", "data=/srv", status=ExitStatus.USAGE)


# -- the wrong moment ---------------------------------------------------------------------------------------


def test_a_second_execution_is_refused_and_names_the_first(quiesce: CommandLine, slow_shop: Shop) -> None:
    first = start_slow_backup(quiesce, slow_shop)
    (running,) = quiesce.executions()
    for command in (["backup", "shop"], ["suspend", "shop"], ["deployments", "remove", "shop", "--force"]):
        answer = quiesce(*command, status=ExitStatus.REFUSED)
        assert "[busy]" in answer.err
        assert running["id"] in answer.err
    (slow_shop.directory / "go").touch()
    assert first.wait(60) == ExitStatus.OK
    assert list(quiesce.points("shop")) == ["slow"]


# -- the store ----------------------------------------------------------------------------------------------


def test_a_database_of_a_newer_version_is_left_alone(quiesce: CommandLine, shop: Shop) -> None:
    with closing(sqlite3.connect(quiesce.home / "quiesce.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = _rows(quiesce)
    answer = quiesce("backup", "shop", status=ExitStatus.STORE)
    assert "[store-newer]" in answer.err
    assert "Upgrade quiesce" in answer.err
    assert _rows(quiesce) == before


def test_a_database_that_somebody_else_holds_is_not_waited_for_for_ever(
    quiesce: CommandLine, shop: Shop
) -> None:
    with closing(sqlite3.connect(quiesce.home / "quiesce.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        answer = quiesce("backup", "shop", status=ExitStatus.STORE)
        connection.execute("ROLLBACK")
    assert "database is locked" in answer.err
    assert not shop.is_frozen()
    quiesce("backup", "shop", "-p", "snapshot_name=one")


def test_what_is_no_database_is_left_alone(quiesce: CommandLine) -> None:
    quiesce.home.mkdir()
    (quiesce.home / "quiesce.db").write_text("my thesis, " * 1000)
    quiesce("deployments", "list", status=ExitStatus.STORE)
    assert (quiesce.home / "quiesce.db").read_text().startswith("my thesis")


def test_a_home_that_is_a_file_is_refused(quiesce: CommandLine) -> None:
    quiesce.home.write_text("not a directory")
    for command in (["deployments", "list"], ["backup", "shop"]):
        assert "[store]" in quiesce(*command, status=ExitStatus.STORE).err


def test_a_home_that_may_not_be_read_is_refused(quiesce: CommandLine) -> None:
    quiesce.home.mkdir(mode=0o000)
    within = _as_nobody_special()
    for command in (["deployments", "list"], ["backup", "shop"]):
        assert "[store]" in quiesce(*command, status=ExitStatus.STORE, within=within).err


def test_a_full_disk_before_the_first_freeze_means_that_nothing_is_run_then_or_later(
    quiesce: CommandLine, shop: Shop
) -> None:
    size = (quiesce.home / "quiesce.db").stat().st_size
    before = shop.contents()
    answer = quiesce(
        "backup",
        "shop",
        "-p",
        "snapshot_name=unlucky",
        status=ExitStatus.STORE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 8, size // 8)),
    )
    assert "[store]" in answer.err
    assert shop.contents() == before
    assert not shop.is_frozen()
    assert _rows(quiesce)["records"] == 0
    quiesce("backup", "shop", "-p", "snapshot_name=later")
    assert list(quiesce.points("shop")) == ["later"]


def test_a_disk_that_fills_up_within_the_window_leaves_nothing_frozen(
    quiesce: CommandLine, slow_shop: Shop, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small") as disk:
        shutil.copytree(quiesce.home, disk, dirs_exist_ok=True)
        home, quiesce.home = quiesce.home, disk
        process = start_slow_backup(quiesce, slow_shop)
        _fill(disk / "filler")
        (slow_shop.directory / "go").touch()
        _, err = process.communicate(timeout=60)
        assert process.returncode == ExitStatus.STORE, err
        assert "full" in err
        eventually(lambda: not slow_shop.is_frozen(), "thawed, although it could not be written down")
        (disk / "filler").unlink()
        quiesce("recover")
        quiesce("backup", "shop", "-p", "snapshot_name=later")
        assert quiesce.points("shop").keys() == {"later"}
        quiesce.home = home


# -- helpers ------------------------------------------------------------------------------------------------


@contextmanager
def nothing_run(quiesce: CommandLine, shop: Shop) -> Iterator[None]:
    """Expect that the block changes neither the application nor what is known."""
    before = (_rows(quiesce), shop.contents())
    yield
    assert (_rows(quiesce), shop.contents()) == before
    assert not shop.is_frozen()


def _rows(quiesce: CommandLine) -> dict[str, int]:
    tables = ("deployments", "executions", "records", "restore_points")
    with closing(sqlite3.connect(quiesce.home / "quiesce.db")) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def refused(quiesce: CommandLine, blueprint: str, *options: str) -> str:
    """Expect that *blueprint* makes no deployment; return why not."""
    (quiesce.directory / "shop.yaml").write_text(blueprint)
    answer = quiesce("init", "shop.yaml", "-b", "shop", *options, status=ExitStatus.BLUEPRINT)
    assert "[blueprint" in answer.err
    assert len(answer.err) < 4000
    assert_no_deployment(quiesce)
    return answer.err


def assert_no_deployment(quiesce: CommandLine) -> None:
    """Expect that nothing was kept."""
    if (quiesce.home / "quiesce.db").exists():
        assert _rows(quiesce)["deployments"] == 0


def _as_nobody_special() -> tuple[str, ...]:
    """Return what a command has to be run within so that permissions hold for it."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("the tests run as root, and there is no setpriv (util-linux)")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for chunk in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * chunk)
            except OSError:
                continue


def test_a_type_that_asks_for_an_input_nobody_declares_is_warned_of(quiesce: CommandLine) -> None:
    """The blueprint does not use it, so it is read; the warning says where it is."""
    path = quiesce.directory / "odd.yaml"
    path.write_text(
        HEAD
        + "node_types: {o: {properties: {p: {default: {get_input: x}}}, derived_from: cloudify.nodes.Root}}\n"
        + "node_templates: {a: {type: cloudify.nodes.Root}}\n"
    )
    for command in (("blueprint", "show", str(path)), ("init", str(path), "-b", "odd")):
        assert f"warning: {path}:3:" in quiesce(*command).err
