"""Commands over SSH, against a real sshd on the loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    RecoverableError,
)
from quiesce.model.call import Call, Related
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import (
    FS_FINALIZE,
    FS_PREPARE,
    INTERFACES,
    RESTORE_VERIFY,
    SNAPSHOT_CREATE,
    STATISTICS,
)
from quiesce.model.parameters import Parameters
from quiesce.model.records import Level
from quiesce.model.topology import Implementation, Node
from quiesce.ports import ProviderSettings
from quiesce.testing import RecordingContext

from ..sshd_on_loopback import Server, needs_sshd, sshd  # noqa: TID252  shared by two kinds of test

pytest.importorskip("paramiko", reason="paramiko is not installed: pip install 'quiesce[ssh]'")

from quiesce.providers.terminal import timer
from quiesce.providers.terminal.provider import TerminalProvider

pytestmark = [needs_sshd, pytest.mark.platform("sshd")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def provider() -> Iterator[TerminalProvider]:
    provider = TerminalProvider(ProviderSettings(state_dir="", repository=""))
    yield provider
    provider.close()


@pytest.fixture
def context() -> RecordingContext:
    return RecordingContext(timeout_s=60)


#: a timer on the far side is found by its deployment's name, and all tests have the same far side
DEPLOYMENT = DeploymentName(f"examples-{os.getpid()}")


def a_call(server: Server, interface: str, calls: list[Any], **changes: Any) -> Call:
    auth = {**server.auth, **changes.pop("auth", {})}
    node = Node(
        id=NodeId("service"),
        type="cloudify.nodes.terminal.Raw",
        type_hierarchy=("cloudify.nodes.Root", "cloudify.nodes.terminal.Raw"),
        operations=changes.pop("operations", {}),
    )
    fields: dict[str, Any] = {
        "operation": INTERFACES[interface],
        "interface": interface,
        "function": "cloudify_terminal.tasks.run",
        "deployment": DEPLOYMENT,
        "execution": ExecutionId("exec1"),
        "step": StepId("service_ab12cd.run"),
        "attempt": 1,
        "instance": InstanceId("service_ab12cd"),
        "node": node,
        "properties": {"terminal_auth": auth},
        "runtime_properties": {"kept": 1},
        "inputs": {"calls": calls},
        "parameters": Parameters(),
    }
    return Call(**(fields | changes))


def until(claim: Callable[[], bool]) -> None:
    for _ in range(3000):
        if claim():
            return
        time.sleep(0.02)
    raise AssertionError("it never came true")


def test_output_is_logged_and_saved(
    server: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    calls = [
        {"action": "echo one\necho two", "save_to": "lines"},
        "export X=kept",
        {"action": "echo $X"},
    ]
    outcome = provider.perform(a_call(server, STATISTICS, calls), context)
    assert outcome.measurements == {"lines": "one\ntwo"}
    assert context.runtime_properties == {"kept": 1, "lines": "one\ntwo"}
    assert context.lines == [(Level.INFO, "one"), (Level.INFO, "two"), (Level.INFO, "kept")]


def test_templates_are_filled_in(
    server: Server, provider: TerminalProvider, context: RecordingContext, tmp_path: Path
) -> None:
    (tmp_path / "cmd.txt").write_text("echo {{ word }} {{ ctx.instance.id }}\n\necho again\n")
    calls = [
        {"template": "cmd.txt", "params": {"word": "file"}, "save_to": "a"},
        {"template_text": "echo {{ ctx.node.id }}", "save_to": "b"},
    ]
    provider.perform(a_call(server, STATISTICS, calls, blueprint_dir=str(tmp_path)), context)
    assert context.runtime_properties == {"kept": 1, "a": "file service_ab12cd\nagain", "b": "service"}


def test_questions_are_answered(
    server: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    ask = "printf 'Name? '; read -r name; printf 'Sure (y/n)? '; read -r sure; echo \"$name:$sure\""
    responses = [
        {"question": "Name?", "answer": "store.txt", "newline": True},
        {"question": "Sure (y/n)?", "answer": "y", "newline": True},
    ]
    provider.perform(
        a_call(server, STATISTICS, [{"action": ask, "responses": responses, "save_to": "said"}]), context
    )
    assert context.runtime_properties is not None
    assert str(context.runtime_properties["said"]).endswith("store.txt:y")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"action": "sh -c 'echo broken; exit 3'"}, RecoverableError, "exit status 3: broken"),
        ({"action": "echo some % fault", "errors": ["% "]}, RecoverableError, "the output has '% '"),
        ({"action": "echo fatal", "criticals": ["fatal"]}, NonRecoverableError, "the output has 'fatal'"),
        (
            {"action": "echo busy", "warnings": ["busy"], "retry_count": 2, "retry_sleep": 0},
            RecoverableError,
            "after 2 more tries",
        ),
        ({"action": {"no": "string"}}, NonRecoverableError, "action must be text"),
        ({"template": "../x"}, NonRecoverableError, "there is no template"),
        ({"template_text": "{{ }}"}, NonRecoverableError, "cannot be filled in"),
    ],
)
def test_outputs_and_statuses_that_mean_failure(
    server: Server,
    provider: TerminalProvider,
    context: RecordingContext,
    call: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        provider.perform(a_call(server, SNAPSHOT_CREATE, [call]), context)


@pytest.mark.parametrize(
    "call",
    [
        {"action": "sh -c 'echo already thawed; exit 1'", "success_examples": ["already thawed"]},
        {"action": "false", "check_status": False},
    ],
)
def test_statuses_that_mean_nothing(
    server: Server, provider: TerminalProvider, context: RecordingContext, call: dict[str, Any]
) -> None:
    provider.perform(a_call(server, SNAPSHOT_CREATE, [call]), context)


def test_a_check_passes_fails_and_says_what_it_has_read(
    server: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    def checked(*calls: Any) -> tuple[bool, bool, str]:
        found = provider.verify(a_call(server, RESTORE_VERIFY, list(calls)), context)
        assert found is not None
        return found.passed, found.read, found.detail

    assert checked("true")[:2] == (True, False)
    assert checked({"action": "true && echo yes", "save_to": "read"})[:2] == (True, True)
    assert checked("echo it is cut off; false") == (
        False,
        False,
        "a command ended with exit status 1: it is cut off",
    )


def test_a_check_over_a_refused_login_finds_nothing(
    server: Server, provider: TerminalProvider, context: RecordingContext, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    call = a_call(server, RESTORE_VERIFY, ["true"], auth={"known_hosts": str(known)})
    with pytest.raises(NonRecoverableError):
        provider.verify(call, context)


def test_an_unknown_host_key_is_refused(
    server: Server, provider: TerminalProvider, context: RecordingContext, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("")
    auth = {"known_hosts": str(tmp_path / "empty")}
    with pytest.raises(NonRecoverableError, match="host key is not known"):
        provider.perform(a_call(server, STATISTICS, [{"action": "true"}], auth=auth), context)


def test_a_wrong_host_key_is_refused(
    server: Server, provider: TerminalProvider, context: RecordingContext, tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    key = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    (tmp_path / "hosts").write_text(f"[127.0.0.1]:{server.port} {key}\n")
    with pytest.raises(NonRecoverableError, match="not the one that is known"):
        provider.perform(
            a_call(server, STATISTICS, [{"action": "true"}], auth={"known_hosts": str(tmp_path / "hosts")}),
            context,
        )


def test_checking_host_keys_can_be_switched_off(
    server: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    auth = {"known_hosts": "/nowhere", "host_key_check": False}
    provider.perform(a_call(server, STATISTICS, [{"action": "true"}], auth=auth), context)


def test_a_wrong_key_is_a_clear_error(
    server: Server, provider: TerminalProvider, context: RecordingContext, tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    auth = {"key_content": (tmp_path / "other").read_text()}
    with pytest.raises(NonRecoverableError, match=r"does not let .* in"):
        provider.perform(a_call(server, STATISTICS, [{"action": "true"}], auth=auth), context)


def test_the_next_address_is_tried(
    server: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    auth = {"ip": ["127.0.0.250", "127.0.0.1"], "host_key_check": False}
    provider.perform(a_call(server, STATISTICS, [{"action": "true"}], auth=auth), context)


def test_the_hosts_address_is_used(
    server: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    host = Related(
        instance=InstanceId("vm_1"),
        node=Node(
            id=NodeId("vm"), type="t", type_hierarchy=("cloudify.nodes.Root", "cloudify.nodes.Compute")
        ),
        relationship="cloudify.relationships.contained_in",
        runtime_properties={"ip": "127.0.0.1"},
    )
    call = a_call(server, STATISTICS, [{"action": "true"}], auth={"ip": ""}, related=(host,))
    provider.perform(call, context)


def test_nobody_there_can_be_tried_again(
    server: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    with pytest.raises(RecoverableError):
        provider.perform(a_call(server, STATISTICS, [{"action": "true"}], auth={"port": 1}), context)


def test_a_command_that_hangs_is_given_up_and_hung_up(
    server: Server, provider: TerminalProvider, tmp_path: Path
) -> None:
    call = a_call(server, STATISTICS, [{"action": f"echo $$ > {tmp_path}/pid; sleep 60"}])
    with pytest.raises(OperationTimeoutError):
        provider.perform(call, RecordingContext(timeout_s=3))
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


# -- freezing ---------------------------------------------------------------------------------------------


def freezing(server: Server, marker: Path, **changes: Any) -> tuple[Call, Call]:
    """Return a freeze and its thaw: a marker file stands for the frozen service."""
    freeze = [{"action": f"touch {marker}"}]
    thaw = [{"template_text": "rm -f {{ path }}", "params": {"path": str(marker)}}]
    auth = changes.pop("auth", {})
    operations = {
        FS_PREPARE: Implementation(plugin="terminal", function="cloudify_terminal.tasks.run"),
        FS_FINALIZE: Implementation(
            plugin="terminal",
            function="cloudify_terminal.tasks.run",
            inputs={"calls": thaw},  # type: ignore[dict-item]
        ),
    }
    common = {"operations": operations, "auth": auth, "thaw_inputs": {"calls": thaw}, **changes}
    return (
        a_call(server, FS_PREPARE, freeze, **common),
        a_call(server, FS_FINALIZE, thaw, **{k: v for k, v in common.items() if k != "thaw_after_s"}),
    )


def timers(call: Call) -> list[str]:
    listed = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if line.startswith(f"sh -c : {timer._name(call)};")]


def test_the_timer_thaws_though_the_connection_is_lost(
    server: Server, provider: TerminalProvider, context: RecordingContext, tmp_path: Path
) -> None:
    marker = tmp_path / "frozen"
    # long enough that it cannot fire before the freeze itself is done, however slow the machine is
    freeze, _ = freezing(server, marker, thaw_after_s=15.0)
    provider.perform(freeze, context)
    assert marker.exists()
    provider.close()
    until(lambda: not marker.exists())


def test_a_thaw_disarms_the_timer_and_needs_no_new_login(tmp_path: Path) -> None:
    (tmp_path / "sshd").mkdir()
    context = RecordingContext()
    provider = TerminalProvider(ProviderSettings(state_dir="", repository=""))
    with sshd(tmp_path / "sshd") as server:
        freeze, thaw = freezing(server, tmp_path / "frozen", thaw_after_s=500.0)
        provider.perform(freeze, context)
        assert len(timers(freeze)) == 1
        server.process.send_signal(signal.SIGSTOP)
        provider.perform(thaw, context)
        server.process.send_signal(signal.SIGCONT)
    provider.close()
    assert not (tmp_path / "frozen").exists()
    until(lambda: timers(freeze) == [])


def test_another_process_thaws_and_disarms(server: Server, context: RecordingContext, tmp_path: Path) -> None:
    settings = ProviderSettings(state_dir="", repository="")
    freeze, thaw = freezing(server, tmp_path / "frozen", thaw_after_s=500.0)
    first, second = TerminalProvider(settings), TerminalProvider(settings)
    first.perform(freeze, context)
    first.close()
    second.perform(thaw, context)
    second.close()
    assert not (tmp_path / "frozen").exists()
    until(lambda: timers(freeze) == [])


def test_freezing_twice_leaves_one_timer(
    server: Server, provider: TerminalProvider, context: RecordingContext, tmp_path: Path
) -> None:
    freeze, thaw = freezing(server, tmp_path / "frozen", thaw_after_s=500.0)
    provider.perform(freeze, context)
    provider.perform(freeze, context)
    assert len(timers(freeze)) == 1
    provider.perform(thaw, context)
    until(lambda: timers(freeze) == [])


def test_the_thaws_commands_are_in_no_process_list(
    server: Server, provider: TerminalProvider, context: RecordingContext, tmp_path: Path
) -> None:
    marker = tmp_path / "top-secret"
    freeze, thaw = freezing(server, marker, thaw_after_s=500.0)
    provider.perform(freeze, context)
    listed = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True)
    provider.perform(thaw, context)
    assert not any("rm -f" in line and "top-secret" in line for line in listed.stdout.splitlines())


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ({}, "not a command over SSH"),
        (
            {FS_FINALIZE: Implementation(plugin="script", function="script_runner.tasks.run")},
            "not a command over SSH",
        ),
        (
            {
                FS_PREPARE: Implementation(plugin="terminal", function="cloudify_terminal.tasks.run"),
                FS_FINALIZE: Implementation(
                    plugin="terminal",
                    function="cloudify_terminal.tasks.run",
                    inputs={"terminal_auth": {"ip": "10.0.0.9"}, "calls": []},
                ),
            },
            "another place",
        ),
        (
            {
                FS_FINALIZE: Implementation(
                    plugin="terminal",
                    function="cloudify_terminal.tasks.run",
                    inputs={"calls": [{"action": {"get_attribute": ["SELF", "command"]}}]},
                )
            },
            "must be text",
        ),
    ],
)
def test_where_no_timer_can_be_armed_it_says_so(
    server: Server,
    provider: TerminalProvider,
    context: RecordingContext,
    operations: dict[str, Implementation],
    why: str,
) -> None:
    thaw = operations.get(FS_FINALIZE)
    inputs = {} if thaw is None else thaw.inputs
    changes = {"operations": operations, "thaw_inputs": inputs, "thaw_after_s": 10.0}
    call = a_call(server, FS_PREPARE, [{"action": "true"}], **changes)
    provider.perform(call, context)
    warnings = [line for level, line in context.lines if level is Level.WARNING]
    assert len(warnings) == 1
    assert why in warnings[0]
    until(lambda: timers(call) == [])


def test_a_freeze_without_commands_freezes_nothing(
    server: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    with pytest.raises(CannotFreezeError):
        provider.perform(a_call(server, FS_PREPARE, []), context)


# -- what is not a shell ----------------------------------------------------------------------------------

DEVICE = """
import sys
def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()
say("Welcome\\r\\nrouter# ")
for line in sys.stdin:
    word = line.strip()
    if word == "exit":
        break
    if word == "copy startup-config flash:":
        say("Destination filename [startup-config]? ")
        name = sys.stdin.readline().strip()
        say(f"copied to {name}\\r\\nrouter# ")
    elif word == "show ip domain":
        say("example.org\\r\\nrouter# ")
    elif word:
        say(f"% Unknown command: {word}\\r\\nrouter# ")
    else:
        say("router# ")
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("device")
    (directory / "device.py").write_text(DEVICE)
    with sshd(directory, f"ForceCommand {sys.executable} -u {directory}/device.py") as running:
        yield running


def test_a_device_is_talked_to_by_its_prompts(
    device: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    calls = [
        {"action": "show ip domain", "save_to": "domain"},
        {
            "action": "copy startup-config flash:",
            "responses": [{"question": "[startup-config]?", "answer": "store.txt", "newline": True}],
            "save_to": "copied",
        },
    ]
    call = a_call(device, STATISTICS, calls, auth={"promt_check": ["#"], "errors": ["% "]})
    provider.perform(call, context)
    assert context.runtime_properties is not None
    assert context.runtime_properties["domain"] == "example.org"
    assert "copied to store.txt" in str(context.runtime_properties["copied"])


def test_a_devices_error_is_found_in_its_output(
    device: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    call = a_call(device, STATISTICS, [{"action": "shutdown"}], auth={"errors": ["% "]})
    with pytest.raises(RecoverableError, match="the output has '% '"):
        provider.perform(call, context)


def test_a_device_gets_no_timer(
    device: Server, provider: TerminalProvider, context: RecordingContext
) -> None:
    provider.perform(a_call(device, FS_PREPARE, [{"action": "show ip domain"}], thaw_after_s=5.0), context)
    assert any("not a shell" in line for level, line in context.lines if level is Level.WARNING)
