"""What others could have changed is not used: home, database, secrets, scripts; no argument has a secret."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from quiesce.app.masking import Masking
from quiesce.bootstrap import Secrets, Settings, start_guard
from quiesce.errors import ExitStatus, NonRecoverableError, UntrustedPathError
from quiesce.files.reading import read_regular

from .shop import CommandLine, Shop, eventually

SOMEBODY_ELSE = 54321

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to another user")

SCRIPTED = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  app:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot:
        create: {implementation: run.sh}
"""


def test_a_home_that_others_can_write_is_refused(quiesce: CommandLine) -> None:
    """It is named with what to do, before anything is read from it."""
    quiesce.home.mkdir(mode=0o700)
    quiesce.home.chmod(0o777)
    answer = quiesce("deployments", "list", status=ExitStatus.REFUSED)
    assert "untrusted-path" in answer.err
    assert "can be written by others" in answer.err
    assert "chmod" in answer.err
    assert list(quiesce.home.iterdir()) == []


def test_a_directory_above_the_home_that_others_can_write_is_refused(quiesce: CommandLine) -> None:
    """Whoever can write there can put another home in its place."""
    quiesce.home.mkdir(mode=0o700)
    above = quiesce.home.parent
    above.chmod(0o777)
    try:
        assert str(above) in quiesce("deployments", "list", status=ExitStatus.REFUSED).err
    finally:
        above.chmod(0o700)


@needs_root
def test_a_home_of_somebody_else_is_refused(quiesce: CommandLine) -> None:
    """Root neither reads nor writes there."""
    quiesce.home.mkdir(mode=0o700)
    os.chown(quiesce.home, SOMEBODY_ELSE, SOMEBODY_ELSE)
    answer = quiesce("deployments", "list", status=ExitStatus.REFUSED)
    assert f"belongs to user {SOMEBODY_ELSE}" in answer.err


@needs_root
@pytest.mark.parametrize("variable", ["QUIESCE_HOME", "QUIESCE_DATABASE"])
def test_nothing_is_made_where_a_link_of_somebody_else_leads(
    quiesce: CommandLine, tmp_path: Path, variable: str
) -> None:
    """Root made a directory there, and refused it then."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "victim").mkdir()
    os.chown(tmp_path / "theirs", SOMEBODY_ELSE, SOMEBODY_ELSE)
    (tmp_path / "theirs" / "link").symlink_to(tmp_path / "victim")
    os.lchown(tmp_path / "theirs" / "link", SOMEBODY_ELSE, SOMEBODY_ELSE)
    path = tmp_path / "theirs" / "link" / "new"
    quiesce.environment = {
        variable: f"sqlite:///{path}/q.db" if variable == "QUIESCE_DATABASE" else str(path)
    }
    assert "is a link" in quiesce("deployments", "list", status=ExitStatus.REFUSED).err
    assert list((tmp_path / "victim").iterdir()) == []


@needs_root
@pytest.mark.parametrize("command", [["blueprint", "show"], ["policy", "apply"], ["keys", "import"]])
def test_a_file_behind_a_link_of_somebody_else_is_not_read(
    quiesce: CommandLine, tmp_path: Path, command: list[str]
) -> None:
    """Messages told what stands in it, to whoever sees the output."""
    (tmp_path / "private").write_text("secret_word: 1")
    (tmp_path / "link").symlink_to(tmp_path / "private")
    os.lchown(tmp_path / "link", SOMEBODY_ELSE, SOMEBODY_ELSE)
    process = quiesce.start(*command, str(tmp_path / "link"))
    out, err = process.communicate(timeout=60)
    assert process.returncode in {ExitStatus.USAGE, ExitStatus.BLUEPRINT}
    assert "is a link and was not followed" in err
    assert "secret_word" not in out + err


def test_a_database_that_others_can_write_is_refused(quiesce: CommandLine) -> None:
    """The database says what root runs."""
    quiesce("deployments", "list")
    (quiesce.home / "quiesce.db").chmod(0o666)
    assert "quiesce.db" in quiesce("deployments", "list", status=ExitStatus.REFUSED).err


def test_a_database_in_a_directory_of_all_is_refused(quiesce: CommandLine, tmp_path: Path) -> None:
    """Others could put its journal there, sticky or not."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    quiesce.environment = {"QUIESCE_DATABASE": f"sqlite:///{shared}/q.db"}
    assert "can be written by others" in quiesce("deployments", "list", status=ExitStatus.REFUSED).err


@pytest.mark.parametrize("url", ["nonsense", "nosuch://u:hunter22@h/d", "sqlite:////", "postgresql+no://h/d"])
def test_a_wrong_database_is_a_clear_error(quiesce: CommandLine, url: str) -> None:
    """No traceback, and no password."""
    quiesce.environment = {"QUIESCE_DATABASE": url}
    process = quiesce.start("deployments", "list")
    out, err = process.communicate(timeout=60)
    assert process.returncode in {ExitStatus.STORE, ExitStatus.REFUSED, ExitStatus.USAGE}, err
    assert "Traceback" not in err
    assert "hint:" in err
    assert "hunter22" not in out + err


@pytest.mark.parametrize("mode", [0o644, 0o622, 0o640])
def test_secrets_that_others_can_read_or_write_are_refused(tmp_path: Path, mode: int) -> None:
    """The hint has the command that corrects it."""
    path = tmp_path / "secrets.yaml"
    path.write_text("word: hunter22")
    path.chmod(mode)
    with pytest.raises(UntrustedPathError) as refused:
        Secrets(path, {}, Masking())("word")
    assert "chmod 600" in refused.value.hint
    path.chmod(0o600)
    assert Secrets(path, {}, Masking())("word") == "hunter22"


@needs_root
def test_secrets_of_somebody_else_are_refused(tmp_path: Path) -> None:
    """They would choose what root logs in with."""
    path = tmp_path / "secrets.yaml"
    path.write_text("word: hunter22")
    path.chmod(0o600)
    os.chown(path, SOMEBODY_ELSE, SOMEBODY_ELSE)
    with pytest.raises(UntrustedPathError, match=f"belongs to user {SOMEBODY_ELSE}"):
        Secrets(path, {}, Masking())("word")


def test_secrets_that_are_no_yaml_are_not_repeated(tmp_path: Path) -> None:
    """A parser's message shows the line, and with it the secret."""
    path = tmp_path / "secrets.yaml"
    path.write_text("word: [hunter22")
    path.chmod(0o600)
    with pytest.raises(NonRecoverableError) as refused:
        Secrets(path, {}, Masking())("word")
    assert "hunter22" not in str(refused.value)


def test_a_script_that_others_can_change_is_not_run(quiesce: CommandLine, tmp_path: Path) -> None:
    """Whoever could write it would run as root."""
    (quiesce.directory / "app.yaml").write_text(SCRIPTED)
    script = quiesce.directory / "run.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    quiesce("init", "app.yaml", "-b", "app")
    script.chmod(0o777)
    answer = quiesce("backup", "app", status=ExitStatus.FAILED)
    assert "can be written by others" in answer.out + answer.err
    assert not (tmp_path / "ran").exists()
    script.chmod(0o700)
    quiesce("backup", "app")
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(("mode", "status"), [(0o777, ExitStatus.FAILED), (0o1777, ExitStatus.OK)])
def test_no_script_is_run_by_way_of_a_directory_that_others_can_change(
    quiesce: CommandLine, tmp_path: Path, mode: int, status: ExitStatus
) -> None:
    """They put theirs in the place of the directory that holds it, and the socket of its ctx."""
    temporary = tmp_path / "t"
    temporary.mkdir()
    temporary.chmod(mode)
    quiesce.environment = {"TMPDIR": str(temporary)}
    (quiesce.directory / "app.yaml").write_text(SCRIPTED)
    (quiesce.directory / "run.sh").write_text("#!/bin/sh\ntouch ran\n")
    quiesce("init", "app.yaml", "-b", "app")
    answer = quiesce("backup", "app", "-p", "task_retries=0", status=status)
    assert (quiesce.directory / "ran").exists() == (status is ExitStatus.OK)
    assert ("can be written by others" in answer.err) == (status is ExitStatus.FAILED)
    assert list(temporary.iterdir()) == []


def test_doctor_gives_the_command_that_mends_each(quiesce: CommandLine) -> None:
    """Also where nothing else can be done, because the home is refused."""
    (quiesce.directory / "app.yaml").write_text(SCRIPTED)
    script = quiesce.directory / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    quiesce("init", "app.yaml", "-b", "app")
    secrets = quiesce.home / "secrets.yaml"
    secrets.write_text("word: hunter22")
    secrets.chmod(0o600)
    quiesce("doctor", "app")
    for path, mode in (
        (script, 0o722),
        (secrets, 0o644),
        (quiesce.home / "repository.keys", 0o640),
        (quiesce.home / "quiesce.db", 0o660),
        (quiesce.home, 0o770),
    ):
        path.chmod(mode)
        told = quiesce("doctor", "app", status=ExitStatus.REFUSED).out
        assert f"{path} can be " in told
        _do(told)
        quiesce("doctor", "app")
    quiesce("doctor")


@needs_root
def test_doctor_gives_the_command_that_takes_a_file_from_its_owner(quiesce: CommandLine) -> None:
    """A directory above is not taken away: its owner may need it."""
    quiesce("deployments", "list")
    os.chown(quiesce.home / "quiesce.db", SOMEBODY_ELSE, SOMEBODY_ELSE)
    _do(quiesce("doctor", status=ExitStatus.REFUSED).out)
    quiesce("doctor")
    os.chown(quiesce.home.parent, SOMEBODY_ELSE, SOMEBODY_ELSE)
    try:
        told = quiesce("doctor", status=ExitStatus.REFUSED).out
    finally:
        os.chown(quiesce.home.parent, 0, 0)
    assert "Move it to a directory" in told
    assert "chown" not in told


@needs_root
def test_no_database_is_made_where_a_link_of_somebody_else_leads(
    quiesce: CommandLine, tmp_path: Path
) -> None:
    """An empty /etc/nologin is enough to lock everybody out."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "q.db").symlink_to(tmp_path / "made")
    os.chown(theirs, SOMEBODY_ELSE, SOMEBODY_ELSE)
    os.chown(theirs / "q.db", SOMEBODY_ELSE, SOMEBODY_ELSE, follow_symlinks=False)
    quiesce.environment = {"QUIESCE_DATABASE": f"sqlite:///{theirs}/q.db"}
    quiesce("deployments", "list", status=ExitStatus.REFUSED)
    assert not (tmp_path / "made").exists()


def _do(told: str) -> None:
    """Run the commands that doctor gives."""
    commands = [line.partition("do: ")[2] for line in told.splitlines() if line.startswith("    do: ")]
    assert commands
    for command in commands:
        subprocess.run(["sh", "-c", command], check=True)


def test_the_guards_arguments_hold_no_password(tmp_path: Path) -> None:
    """Everybody can read the arguments of a process."""
    home = tmp_path / "home"
    settings = Settings(home=home, database_url=f"sqlite:///{home}/hunter22.db")
    guard = start_guard(settings)
    try:
        # of a process that has only just begun it is empty
        arguments = Path(f"/proc/{guard._process.pid}/cmdline")
        eventually(lambda: arguments.read_bytes() != b"", "it shows its arguments")
        assert b"quiesce.cli.guard" in arguments.read_bytes()
        assert b"hunter22" not in arguments.read_bytes()
    finally:
        guard.dismiss()
        guard._process.wait(60)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nor is a link followed, nor a large file read."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "large").write_bytes(b"x" * 11)
    for name in ("pipe", "link", "large", "."):
        with pytest.raises(OSError):
            read_regular(tmp_path / name, at_most=10)
    assert read_regular(tmp_path / "large", at_most=11) == b"x" * 11


@needs_root
def test_no_timer_of_roots_runs_a_program_that_others_can_change(
    quiesce: CommandLine, tmp_path: Path
) -> None:
    """Where PATH names one, in the virtual environment of a user, say."""
    program = tmp_path / "quiesce"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    quiesce.environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert f"{program} run-due" in quiesce("schedule", "install", "--by", "cron").out
    os.chown(program, SOMEBODY_ELSE, SOMEBODY_ELSE)
    told = quiesce("schedule", "install", "--by", "cron", status=ExitStatus.REFUSED).err
    assert f"belongs to user {SOMEBODY_ELSE}" in told


@needs_root
def test_no_timer_of_roots_runs_what_a_link_of_somebody_else_leads_to(
    quiesce: CommandLine, tmp_path: Path
) -> None:
    """It can lead elsewhere tomorrow, whomever the program of today belongs to."""
    theirs, program = tmp_path / "bin", tmp_path / "quiesce"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    theirs.mkdir()
    (theirs / "quiesce").symlink_to(program)
    quiesce.environment = {"PATH": f"{theirs}:{os.environ['PATH']}"}
    assert f"{theirs / 'quiesce'} run-due" in quiesce("schedule", "install", "--by", "cron").out
    os.chown(theirs / "quiesce", SOMEBODY_ELSE, SOMEBODY_ELSE, follow_symlinks=False)
    told = quiesce("schedule", "install", "--by", "cron", status=ExitStatus.REFUSED).err
    assert f"user {SOMEBODY_ELSE} made it" in told


@needs_root
@pytest.mark.parametrize(
    "command", [["backups", "extract", "shop", "p", "files", "one", "-o"], ["keys", "export", "--output"]]
)
def test_nothing_is_written_where_a_link_of_somebody_else_leads(
    shop: Shop, quiesce: CommandLine, tmp_path: Path, command: list[str]
) -> None:
    """Root's file of theirs, under a name that they knew: in /etc/cron.d, say."""
    (shop.data / "one").write_text("* * * * * root id")
    quiesce("backup", "shop", "--full", "--snapshot-name", "p")
    for name in ("theirs", "victim"):
        (tmp_path / name).mkdir()
    os.chown(tmp_path / "theirs", SOMEBODY_ELSE, SOMEBODY_ELSE)
    (tmp_path / "theirs" / "link").symlink_to(tmp_path / "victim")
    os.lchown(tmp_path / "theirs" / "link", SOMEBODY_ELSE, SOMEBODY_ELSE)
    process = quiesce.start(*command, str(tmp_path / "theirs" / "link" / "new"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == ExitStatus.REFUSED, err
    assert "is a link and was not followed" in err
    assert list((tmp_path / "victim").iterdir()) == []
    quiesce(*command, str(tmp_path / "theirs" / "new"))
    assert (tmp_path / "theirs" / "new").exists()
