"""The workflows' parameters: declared as data, read into a checked value."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quiesce.errors import UnknownNameError, UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.former_state import Side
from quiesce.model.ids import Json, backup_name
from quiesce.model.operation import RESTORE_CONFIRM, RESTORE_EXTRACT, RESTORE_REVERT
from quiesce.model.options import Option
from quiesce.model.parameters import Parameters, VerifyFirst
from quiesce.model.words import (
    WrongValueError,
    one_of,
    read_absolute_path,
    read_flag,
    read_names,
    read_positive_seconds,
    read_seconds,
    whole_number,
)
from quiesce.planning.registry import Workflow, workflow_named


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A shorter way to give a parameter a value."""

    option: str
    value: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One declared parameter of one or more workflows."""

    name: str
    #: which workflows have it
    workflows: Callable[[Workflow], bool]
    read: Callable[[str, Json], Any]
    help: str
    default: Json = None
    #: what Cloudify's old plugin calls it, too
    also: str | None = None
    #: field of `Parameters`, where it is not the same word
    field: str | None = None
    #: whether operations receive it even when it was not given (the vocabulary of Cloudify's old plugin)
    handed_on: bool = False
    #: whether it is a path: on the command line it may begin at the working directory
    path: bool = False
    #: whether only quiesce's own engine has it, because it needs the catalog
    own_engine: bool = False
    #: on the command line, an option without a value, and what it says
    switch: Switch | None = None
    #: whether it names a restore point that is there
    names_point: bool = False


def read_parameters(
    workflow: str,
    given: Mapping[str, Json],
    *,
    now: float,
    options: Mapping[str, Sequence[Option]] | None = None,
    allow_custom: bool = False,
) -> Parameters:
    """Return *given* as a checked value, defaults filled in.

    *now* (seconds since the epoch) names a backup that has no name. Providers' *options*, by parameter name,
    are checked and handed on to operations. Custom parameters, when allowed, are handed on and mean nothing
    to quiesce.

    Raises:
        UsageError: for a value that is not accepted, or a missing name.
        UnknownNameError: for a parameter that the workflow does not have.
    """
    declared = {parameter.name: parameter for parameter in parameters_of(workflow)}
    given = _by_our_names(given, declared.values())
    custom = {name: value for name, value in given.items() if name not in declared}
    _check_custom(workflow, custom, declared, options or {}, allow_custom=allow_custom)
    values = {**_defaults(workflow, declared.values(), now), **given}
    fields = {
        parameter.field or parameter.name: parameter.read(parameter.name, values[parameter.name])
        for parameter in declared.values()
        if parameter.name in values
    }
    _check_together(workflow, fields)
    handed_on = {
        name: _as_handed_on(declared.get(name), value)
        for name, value in values.items()
        if name in given or (name in declared and declared[name].handed_on)
    }
    return Parameters(**fields, raw=handed_on)


def parameters_of(workflow: str) -> tuple[Parameter, ...]:
    """Return the parameters that *workflow* declares."""
    row = workflow_named(workflow)
    return tuple(parameter for parameter in PARAMETERS if parameter.workflows(row))


def default_of(parameter: Parameter, workflow: str) -> Json:
    """Return the default of *parameter* in *workflow*; None when it is computed or absent."""
    return workflow_named(workflow).defaults.get(parameter.name, parameter.default)


def _defaults(workflow: str, declared: Any, now: float) -> dict[str, Json]:
    defaults: dict[str, Json] = {p.name: d for p in declared if (d := default_of(p, workflow)) is not None}
    if workflow_named(workflow).makes_point:
        defaults["snapshot_name"] = f"{workflow}-{int(now)}"
    return defaults


def _as_handed_on(parameter: Parameter | None, value: Json) -> Json:
    """Return *value* in its own type: ``false`` typed on a command line is no text."""
    read = value if parameter is None else parameter.read(parameter.name, value)
    if isinstance(read, tuple):
        return [str(item) for item in read]
    return read if isinstance(read, bool | int | str) and not isinstance(read, enum.Enum) else value


#: a parameter that looks like a selection is never handed on unread: it could mean less than everything
_SELECTIONS: Final = ("include_", "exclude_")


def _by_our_names(given: Mapping[str, Json], declared: Iterable[Parameter]) -> dict[str, Json]:
    """Return *given* with the old plugin's names replaced; what is said twice is refused."""
    ours = {parameter.also: parameter.name for parameter in declared if parameter.also}
    for name in given.keys() & ours.keys():
        if ours[name] in given:
            raise UsageError(f"{name} and {ours[name]} are the same parameter: give one of them")
    return {ours.get(name, name): value for name, value in given.items()}


def _check_custom(
    workflow: str,
    custom: Mapping[str, Json],
    declared: Mapping[str, Parameter],
    options: Mapping[str, Sequence[Option]],
    *,
    allow_custom: bool,
) -> None:
    for name, value in custom.items():
        if name not in options and (not allow_custom or name.startswith(_SELECTIONS)):
            raise UnknownNameError(f"parameter of {workflow}", name, [*declared, *options])
        for option in options.get(name, ()):
            _checked(option.read)(name, value)


def _check_together(workflow: str, fields: Mapping[str, Any]) -> None:
    removes = workflow_named(workflow).removes_points
    if removes and bool(fields.get("snapshot_name")) == bool(fields.get("all")):
        raise UsageError(
            f"{workflow} needs a snapshot_name, or all=true, and not both",
            hint="'quiesce backups list' shows the names there are.",
        )


def _name(name: str, value: Json) -> str:
    del name
    return backup_name(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)


def _text(name: str, value: Json) -> str:
    if not isinstance(value, str) or not value or len(value) > 255 or not value.isprintable():
        raise _wrong(name, value, "1 to 255 printable characters")
    return value


def _checked(reader: Callable[[Json], Any]) -> Callable[[str, Json], Any]:
    """Return *reader* as a parameter's: its error names the parameter."""

    def read(name: str, value: Json) -> Any:
        try:
            return reader(value)
        except WrongValueError as error:
            raise UsageError(f"parameter {name}: {error}") from None

    return read


def _count(least: int) -> Callable[[str, Json], int]:
    return _checked(whole_number(least))


def _rotation(name: str, value: Json) -> int:
    return -1 if value in (-1, "-1") else _count(1)(name, value)


_flag = _checked(read_flag)
_seconds = _checked(read_seconds)
_positive_seconds = _checked(read_positive_seconds)
_names = _checked(read_names)


def _on_prepare_error(name: str, value: Json) -> bool:
    if value not in ("abort", "continue"):
        raise _wrong(name, value, "abort or continue")
    return value == "abort"


def _consistency(name: str, value: Json) -> Consistency:
    if not isinstance(value, str) or value.upper() not in Consistency.__members__:
        raise _wrong(name, value, "one of " + ", ".join(member.label for member in Consistency))
    return Consistency[value.upper()]


def _verify_first(name: str, value: Json) -> VerifyFirst:
    if not isinstance(value, str) or value not in set(VerifyFirst):
        raise _wrong(name, value, "one of " + ", ".join(VerifyFirst))
    return VerifyFirst(value)


def _wrong(name: str, value: Json, right: str) -> UsageError:
    return UsageError(f"parameter {name}: {WrongValueError(value, right)}")


def _all(workflow: Workflow) -> bool:
    del workflow
    return True


def _freezing(workflow: Workflow) -> bool:
    return workflow.freezes


def _on_points(workflow: Workflow) -> bool:
    return workflow.makes_point or workflow.takes_points


def _making(workflow: Workflow) -> bool:
    return workflow.makes_point


def _applying(workflow: Workflow) -> bool:
    return workflow.applies_points


def _confirming(workflow: Workflow) -> bool:
    return RESTORE_CONFIRM in workflow.interfaces


def _reverting(workflow: Workflow) -> bool:
    return RESTORE_REVERT in workflow.interfaces


def _extracting(workflow: Workflow) -> bool:
    return RESTORE_EXTRACT in workflow.interfaces


def _reading(workflow: Workflow) -> bool:
    return _applying(workflow) or _extracting(workflow)


def _removing(workflow: Workflow) -> bool:
    return workflow.removes_points


PARAMETERS: Final = (
    Parameter(
        name="snapshot_name",
        workflows=_on_points,
        read=_name,
        handed_on=True,
        help="name of the restore point (backup: default backup-<unix time>)",
        names_point=True,
    ),
    Parameter(
        name="snapshot_incremental",
        workflows=_on_points,
        read=_flag,
        default=True,
        handed_on=True,
        help="true: a snapshot, tied to its source; false: a backup, a full copy that survives its source",
        switch=Switch(option="full", value=False),
    ),
    Parameter(
        name="snapshot_type",
        workflows=_making,
        read=_text,
        default="irregular",
        handed_on=True,
        help="a tag such as daily, handed on to operations",
    ),
    Parameter(
        name="snapshot_rotation",
        workflows=_making,
        read=_rotation,
        default=1,
        handed_on=True,
        help="how many to keep (-1: all), handed on to operations; quiesce itself removes nothing because "
        "of it",
    ),
    Parameter(
        name="include_instances",
        workflows=_all,
        read=_names,
        help="only these node instances (a list, or names with commas between)",
    ),
    Parameter(name="include_nodes", workflows=_all, read=_names, help="only instances of these nodes"),
    Parameter(name="exclude_nodes", workflows=_all, read=_names, help="no instances of these nodes"),
    Parameter(
        name="include_types",
        also="include_node_types",
        workflows=_all,
        read=_names,
        help="only nodes of these types",
    ),
    Parameter(
        name="exclude_types",
        also="exclude_node_types",
        workflows=_all,
        read=_names,
        help="no nodes of these types",
    ),
    Parameter(
        name="max_freeze",
        workflows=_freezing,
        read=_positive_seconds,
        default=30,
        field="max_freeze_s",
        help="bound on the time from the first freeze to the last thaw (restore: default 1 h)",
    ),
    Parameter(
        name="on_prepare_error",
        workflows=_freezing,
        read=_on_prepare_error,
        default="abort",
        field="abort_on_prepare_error",
        help="abort, or continue with a visibly lower consistency",
    ),
    Parameter(
        name="min_consistency",
        workflows=lambda workflow: workflow.makes_point or workflow.applies_points,
        read=_consistency,
        default="none",
        help="the least that a restore point may be worth: none, crash, filesystem or application",
    ),
    Parameter(
        name="keep_partial",
        workflows=_making,
        read=_flag,
        default=False,
        help="keep what was already made when one instance fails, marked incomplete",
    ),
    Parameter(
        name="safety_snapshot",
        workflows=_applying,
        read=_flag,
        help="take a restore point of the present state first (default: where that is cheap)",
    ),
    Parameter(
        name="apply_network",
        workflows=_applying,
        read=_flag,
        default=False,
        help="change networks to what was saved, instead of showing the difference",
    ),
    Parameter(
        name="verify_first",
        workflows=_reading,
        read=_verify_first,
        default="full",
        help="read the restore point before anything is touched: full, unless a check of the last 24 h was "
        "good and nothing was changed since; quick: believe the last check; none",
    ),
    Parameter(
        name="keep_undo",
        workflows=_confirming,
        read=_seconds,
        field="keep_undo_s",
        help="how long what is replaced is kept for an undo, such as 48h; 0: not at all (default: until the "
        "next restore has succeeded)",
    ),
    Parameter(
        name="undo_to",
        workflows=_reverting,
        read=_checked(one_of(Side)),
        help="the state that is wanted: former, as before the restore, or restored (default: the one that is "
        "not there)",
    ),
    Parameter(
        name="to",
        workflows=_applying,
        read=_text,
        own_engine=True,
        help="restore into this deployment instead, of the same or of another blueprint",
    ),
    Parameter(
        name="map",
        workflows=_applying,
        read=_names,
        own_engine=True,
        help="with to: which instance goes into which: SOURCE=TARGET,…; SOURCE= leaves one out "
        "(default: the same node's instance of the same index)",
    ),
    Parameter(
        name="target",
        workflows=_extracting,
        read=_checked(read_absolute_path),
        path=True,
        handed_on=True,
        help="write what the restore point holds below this directory, one entry for each instance, instead; "
        "the deployment is not touched",
    ),
    Parameter(
        name="all",
        workflows=_removing,
        read=_flag,
        default=False,
        help="every restore point of the chosen instances",
    ),
    Parameter(
        name="parallel",
        workflows=_all,
        read=_count(1),
        default=32,
        help="how many operations run side by side",
    ),
    Parameter(
        name="task_retries",
        workflows=_all,
        read=_count(-1),
        default=2,
        help="how often a failed operation is tried again; -1: without end",
    ),
    Parameter(
        name="task_retry_interval",
        workflows=_all,
        read=_seconds,
        default=1,
        field="task_retry_interval_s",
        help="seconds between tries",
    ),
    Parameter(
        name="operation_timeout",
        workflows=_all,
        read=_positive_seconds,
        field="operation_timeout_s",
        help="bound on each operation (default: 20 s to freeze, 10 min to cut, 24 h to copy or apply)",
    ),
)
