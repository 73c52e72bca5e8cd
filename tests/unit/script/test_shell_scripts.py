"""Shell scripts, their interpreter, and the `ctx` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError, RecoverableError
from quiesce.model.records import Level
from quiesce.testing import RecordingContext

Run = Any


def printed(context: RecordingContext) -> list[str]:
    return [line.removeprefix("<out> ") for _, line in context.lines if line.startswith("<out> ")]


def test_the_ctx_command_reads_what_python_scripts_read(run: Run, context: RecordingContext) -> None:
    run(
        "read.sh",
        "#!/bin/sh\nset -e\n"
        "echo $(ctx node properties resource_id)\necho $(ctx node id) $(ctx instance id)\n"
        "echo $(ctx node properties 'network.addresses[0].ip')\n"
        "echo $(ctx instance runtime-properties count) $(ctx instance runtime_properties count)\n"
        "echo $(ctx deployment id) $(ctx execution-id) $(ctx workflow-id)\n"
        "echo $(ctx operation name)\n"
        "echo $(ctx -j node properties network)\n",
    )
    assert printed(context) == [
        "Server!",
        "server server_ab12cd",
        "10.0.0.7",
        "1 1",
        "examples exec1 suspend",
        "cloudify.interfaces.freeze.suspend",
        '{"addresses": [{"ip": "10.0.0.7"}]}',
    ]


def test_the_ctx_command_changes_runtime_properties_at_once(run: Run, context: RecordingContext) -> None:
    run(
        "write.sh",
        "ctx instance runtime-properties name 'a b'\nctx instance runtime-properties port @80\n"
        "ctx instance runtime-properties deep.er '@[1, 2]'\n"
        "echo $(ctx instance runtime-properties deep.er)\n",
    )
    assert context.runtime_properties == {
        "count": 1, "gone": True, "name": "a b", "port": 80, "deep": {"er": [1, 2]},
    }  # fmt: skip
    assert printed(context) == ["[1, 2]"]


def test_the_ctx_command_logs(run: Run, context: RecordingContext) -> None:
    run("log.sh", "ctx logger info 'hello there'\nctx logger warning careful\nctx logger error bad\n")
    assert context.lines == [
        (Level.INFO, "hello there"), (Level.WARNING, "careful"), (Level.ERROR, "bad"),
    ]  # fmt: skip


def test_the_ctx_command_sets_the_result(run: Run) -> None:
    assert run("returns.sh", "ctx returns '@{\"size\": 3}'\n").result == {"size": 3}


@pytest.mark.parametrize(
    ("line", "error", "message", "retry_after_s"),
    [
        ("exit 3", RecoverableError, "ended with exit status 3", None),
        ("echo nearly >&2; echo broken >&2; exit 1", RecoverableError, r"nearly \| broken", None),
        ("ctx abort_operation 'for good'; exit 0", NonRecoverableError, "for good", None),
        ("set -e; ctx abort-operation stop; echo unreached", NonRecoverableError, "stop", None),
        ("ctx retry-operation later 4", RecoverableError, "later", 4.0),
        ("ctx operation retry 'once more' 9; exit 0", RecoverableError, "once more", 9.0),
        ("""ctx operation retry '@{"message": "m", "retry_after": 3}'""", RecoverableError, "m", 3.0),
        ("ctx returns a; ctx returns b; exit 0", NonRecoverableError, "more than one of", None),
        ("ctx node propertiez", RecoverableError, "there is no 'propertiez' in node", None),
        ("ctx node properties nothing", RecoverableError, "illegal path: nothing", None),
        ("no-such-command", RecoverableError, "ended with exit status 127", None),
    ],
)
def test_a_shell_script_says_whether_trying_again_helps(
    run: Run, line: str, error: type[Exception], message: str, retry_after_s: float | None
) -> None:
    with pytest.raises(error, match=message) as caught:
        run("fail.sh", f"{line}\n")
    assert caught.value.retry_after_s == retry_after_s


def test_the_script_stops_where_it_aborts(run: Run, context: RecordingContext) -> None:
    with pytest.raises(NonRecoverableError):
        run("abort.sh", "set -e\nctx abort_operation enough\necho unreached\n")
    assert printed(context) == []


def test_files_are_downloaded_and_rendered(run: Run, context: RecordingContext, tmp_path: Path) -> None:
    (tmp_path / "unit.conf").write_text("id={{ ctx.node.id }} port={{ port }}")
    run(
        "files.sh",
        "cat $(ctx download-resource unit.conf); echo\n"
        "cat $(ctx download-resource-and-render unit.conf '@{\"port\": 80}'); echo\n"
        f"ctx download-resource unit.conf {tmp_path}/copy >/dev/null; cat {tmp_path}/copy; echo\n",
    )
    template = "id={{ ctx.node.id }} port={{ port }}"
    assert printed(context) == [template, "id=server port=80", template]


def test_python_started_by_a_shell_script_has_a_ctx_too(run: Run, context: RecordingContext) -> None:
    run("both.sh", "python3 -c 'from cloudify import ctx; print(ctx.node.id)'\n")
    assert printed(context) == ["server"]


@pytest.mark.parametrize(
    ("name", "first", "process", "expected"),
    [
        ("a.sh", "#!/bin/bash\n", {}, "bash"),
        ("a.sh", "", {}, "sh"),
        ("a.sh", "", {"command_prefix": "bash -x"}, "bash"),
        ("a", "#!/usr/bin/env bash\n", {}, "bash"),
        ("a.py", "#!/bin/bash\n", {"eval_python": False}, "bash"),
    ],
)
def test_the_interpreter_is_the_one_that_is_named(
    run: Run, context: RecordingContext, name: str, first: str, process: dict[str, Any], expected: str
) -> None:
    run(name, f"{first}cat /proc/$$/comm\n", process=process)
    assert printed(context) == [expected]


def test_arguments_directory_and_variables_come_from_process(
    run: Run, context: RecordingContext, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    run(
        "args.sh",
        'pwd\necho "$#:$1:$2:$3"\necho "$extra"\n',
        process={"cwd": str(tmp_path / "work"), "args": ["one", "'two words' $HOME"], "env": {"extra": [1]}},
    )
    assert printed(context) == [str(tmp_path / "work"), "3:one:two words:$HOME", "[1]"]


def test_output_can_be_dropped_or_joined(run: Run, context: RecordingContext) -> None:
    run("quiet.sh", "echo out; echo err >&2\n", process={"log_stdout": False, "log_stderr": False})
    assert context.lines == []
    run("joined.sh", "echo err >&2\n", process={"stderr_to_stdout": True})
    assert printed(context) == ["err"]


@pytest.mark.parametrize(
    "process",
    ["text", {"args": "it's"}, {"env": []}, {"eval_python": "maybe"}, {"cwd": 3}, {"cwd": "/nowhere"}],
)
def test_a_wrong_process_input_is_named(run: Run, process: Any) -> None:
    with pytest.raises(NonRecoverableError, match=r"process|could not be started"):
        run("any.sh", "exit 0\n", process=process)


def test_an_unknown_process_input_is_refused_with_those_there_are(run: Run) -> None:
    with pytest.raises(NonRecoverableError, match="process has no 'enviroment'") as caught:
        run("any.sh", "exit 0\n", process={"enviroment": {}})
    assert "env" in caught.value.hint


@pytest.mark.parametrize("process", [{"args": "--password 'hunter2"}, {"env": "PASSWORD=hunter2"}])
def test_a_wrong_process_input_that_may_be_secret_is_not_shown(run: Run, process: Any) -> None:
    with pytest.raises(NonRecoverableError) as caught:
        run("any.sh", "exit 0\n", process=process)
    assert "hunter2" not in str(caught.value)


def test_process_inputs_are_written_as_all_options_are(run: Run, context: RecordingContext) -> None:
    run("any.sh", "echo out\n", process={"log_stdout": "no", "cwd": None, "ctx_proxy_type": "unix"})
    assert printed(context) == []


@pytest.mark.parametrize("path", ["../outside.sh", "/etc/passwd", "missing.sh", "https://example.com/a.sh"])
def test_a_script_that_is_not_next_to_the_blueprint_is_refused(run: Run, path: str) -> None:
    with pytest.raises(NonRecoverableError, match="script"):
        run("present.sh", "exit 0\n", script_path=path)


def test_a_value_that_no_environment_can_hold_is_refused(run: Run) -> None:
    with pytest.raises(NonRecoverableError, match="'data' cannot become an environment variable"):
        run("any.sh", "exit 0\n", data="a\0b")


def test_too_much_environment_is_refused(run: Run) -> None:
    with pytest.raises(NonRecoverableError, match="could not be started"):
        run("any.sh", "exit 0\n", data="x" * 3_000_000)


def test_what_is_not_text_is_shown_as_far_as_it_can_be(run: Run, context: RecordingContext) -> None:
    run("bytes.sh", "printf 'a\\377b\\n'; head -c 20000 /dev/zero | tr '\\0' x\n")
    assert printed(context) == ["a\ufffdb", "x" * 8192, "x" * 8192, "x" * 3616]


def test_secrets_of_our_own_are_not_handed_on(
    run: Run, context: RecordingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUIESCE_DATABASE", "postgresql://user:password@host/db")
    run("env.sh", "env\n")
    assert not any("password" in line for line in printed(context))
