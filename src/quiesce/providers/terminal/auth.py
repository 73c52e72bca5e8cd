"""Whom to talk to and how: ``terminal_auth``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.topology import COMPUTE
from quiesce.model.words import read_flag, whole_number
from quiesce.providers.terminal.values import text, texts, value

_PORT = 22
_PROMPTS = ("#", "$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reactions:
    """What in an output means something; a call's own win over those of ``terminal_auth``."""

    prompts: tuple[str, ...] = _PROMPTS
    #: run the line again
    warnings: tuple[str, ...] = ()
    #: fail, and try the operation again
    errors: tuple[str, ...] = ()
    #: fail for good
    criticals: tuple[str, ...] = ()
    #: it went well, whatever its exit status is
    successes: tuple[str, ...] = ()
    #: whether an exit status that is not 0 fails the operation; only a shell has one
    check_status: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TerminalAuth:
    """One account on one device, which may have several addresses. Not shown: it holds secrets."""

    user: str
    addresses: tuple[str, ...]
    port: int = _PORT
    password: str = ""
    key_content: str = ""
    exit_command: str = "exit"
    #: whether the far side is a POSIX shell; None: find out
    shell: bool | None = None
    check_host_key: bool = True
    #: file of known host keys; empty: the user's own
    known_hosts: str = ""
    show_dialogue: bool = False
    reactions: Reactions = Reactions()


def terminal_auth(call: Call) -> TerminalAuth:
    """Return the node's ``terminal_auth`` with what the operation's inputs replace in it.

    Raises:
        NonRecoverableError: when user or address is missing, or something has the wrong shape.
    """
    given = {**_mapping(call.properties), **_mapping(call.inputs)}
    auth = TerminalAuth(
        user=text(given, "user"),
        addresses=texts(given, "ip") or _host_addresses(call),
        port=value(given, "port", whole_number(1, 65535), _PORT),
        password=text(given, "password"),
        key_content=text(given, "key_content"),
        exit_command=text(given, "exit_command", "exit"),
        shell=value(given, "shell", read_flag, None),
        check_host_key=value(given, "host_key_check", read_flag, True),
        known_hosts=text(given, "known_hosts"),
        show_dialogue=value(given, "store_logs", read_flag, False),
        reactions=reactions(given, Reactions()),
    )
    if not auth.user or not auth.addresses:
        raise NonRecoverableError("terminal_auth needs a user and an ip (or a host that has one)")
    return auth


def reactions(given: Mapping[str, Json], usual: Reactions) -> Reactions:
    """Return what *given* says about outputs; what it does not say is as *usual*."""
    return Reactions(
        prompts=texts(given, "promt_check") or texts(given, "prompt_check") or usual.prompts,
        warnings=texts(given, "warnings") or usual.warnings,
        errors=texts(given, "errors") or usual.errors,
        criticals=texts(given, "criticals") or usual.criticals,
        successes=texts(given, "success_examples") or usual.successes,
        check_status=value(given, "check_status", read_flag, usual.check_status),
    )


def _mapping(place: Mapping[str, Json]) -> Mapping[str, Json]:
    given = place.get("terminal_auth") or {}
    if not isinstance(given, dict):
        raise NonRecoverableError("terminal_auth must be a mapping: user, ip, password or key_content")
    return given


def _host_addresses(call: Call) -> tuple[str, ...]:
    """Return the address of the instance itself or of the nearest host that it is contained in."""
    hosts = [each for each in call.related if not each.dependent and COMPUTE in each.node.type_hierarchy]
    places = [call.runtime_properties, call.properties]
    for host in hosts:
        places += [host.runtime_properties, host.properties]
    return next((texts(place, "ip") for place in places if place.get("ip")), ())
