"""How ``terminal_auth`` and ``calls`` are read; nothing here connects."""

from __future__ import annotations

from typing import Any

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import STATISTICS, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node
from quiesce.providers.terminal.auth import Reactions, terminal_auth
from quiesce.providers.terminal.calls import TerminalCall, terminal_calls


def a_call(property_auth: Any, input_auth: Any = None) -> Call:
    return Call(
        operation=Operation.MEASURE,
        interface=STATISTICS,
        function="cloudify_terminal.tasks.run",
        deployment=DeploymentName("examples"),
        execution=ExecutionId("exec1"),
        step=StepId("service_1.perfomance"),
        attempt=1,
        instance=InstanceId("service_1"),
        node=Node(id=NodeId("service"), type="t", type_hierarchy=("t",)),
        properties={"terminal_auth": property_auth},
        inputs={"terminal_auth": input_auth} if input_auth is not None else {},
        parameters=Parameters(),
    )


def test_inputs_replace_single_fields_of_the_property() -> None:
    auth = terminal_auth(
        a_call({"user": "a", "ip": "10.0.0.1", "port": 22}, {"port": "2222", "errors": ["% "]})
    )
    assert (auth.user, auth.addresses, auth.port) == ("a", ("10.0.0.1",), 2222)
    assert auth.reactions == Reactions(errors=("% ",))


def test_host_keys_are_checked_unless_that_is_switched_off() -> None:
    assert terminal_auth(a_call({"user": "a", "ip": "h"})).check_host_key
    assert not terminal_auth(a_call({"user": "a", "ip": "h", "host_key_check": False})).check_host_key


def test_secrets_are_not_shown() -> None:
    shown = repr(terminal_auth(a_call({"user": "a", "ip": "h", "password": "hunter2"})))
    assert "hunter2" not in shown
    with pytest.raises(NonRecoverableError, match="password must be text") as caught:
        terminal_auth(a_call({"user": "a", "ip": "h", "password": ["hunter2"]}))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ip": "h"}, "needs a user and an ip"),
        ({"user": "a"}, "needs a user and an ip"),
        ("text", "must be a mapping"),
        ({"user": "a", "ip": [{}]}, "ip must be a list of texts"),
        ({"user": "a", "ip": "h", "port": "many"}, "port must be a whole number from 1 to 65535"),
        (
            {"user": "a", "ip": "h", "host_key_check": "perhaps"},
            "host_key_check must be true or false",
        ),
        ({"user": {}, "ip": "h"}, "user must be text"),
    ],
)
def test_what_is_wrong_with_the_account_is_named(given: Any, message: str) -> None:
    with pytest.raises(NonRecoverableError, match=message):
        terminal_auth(a_call(given))


def test_values_are_read_with_the_words_of_all_options() -> None:
    auth = terminal_auth(a_call({"user": 7, "ip": "h", "host_key_check": "no", "store_logs": "yes"}))
    assert (auth.user, auth.check_host_key, auth.show_dialogue) == ("7", False, True)
    given = [{"action": "a", "retry_sleep": "1.5m", "retry_count": "3", "errors": "no, never"}]
    (call,) = terminal_calls(a_call({}), given, Reactions())
    assert (call.retry_sleep_s, call.retry_count, call.reactions.errors) == (90.0, 3, ("no, never",))


def test_a_call_may_be_just_a_command() -> None:
    calls = terminal_calls(
        a_call({}), ["uptime", {"action": "hostname\n\nuname", "save_to": "x"}], Reactions()
    )
    assert calls == (
        TerminalCall(lines=("uptime",)),
        TerminalCall(lines=("hostname", "uname"), save_to="x"),
    )


def test_a_calls_own_reactions_win() -> None:
    usual = Reactions(errors=("usual",), warnings=("wait",))
    (call,) = terminal_calls(a_call({}), [{"action": "a", "errors": ["own"], "check_status": False}], usual)
    assert call.reactions == Reactions(errors=("own",), warnings=("wait",), check_status=False)


@pytest.mark.parametrize(
    "given",
    ["text", [3], [{"action": "a", "responses": "text"}], [{"template_text": "{{ ''.__class__ }}{% x"}]],
)
def test_what_is_wrong_with_the_calls_is_an_error(given: Any) -> None:
    with pytest.raises(NonRecoverableError):
        terminal_calls(a_call({}), given, Reactions())


def test_templates_cannot_reach_into_python() -> None:
    given = [{"template_text": "{{ ctx.__class__.__mro__ }}"}]
    with pytest.raises(NonRecoverableError, match="cannot be filled in"):
        terminal_calls(a_call({}), given, Reactions())
