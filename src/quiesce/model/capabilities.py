"""What a provider promises, as data: planning relies on it before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation
from quiesce.model.topology import Node

#: in `Description.functions`: whatever no other provider claims
THE_REST: Final = "*"

#: operations that kinds have together, for writing down what a kind can do
PREPARING: Final = frozenset({Operation.PREPARE})
FREEZING: Final = frozenset({Operation.FREEZE, Operation.THAW})
SUSPENDING: Final = frozenset({Operation.SUSPEND, Operation.RESUME})
SAVING: Final = frozenset({Operation.SNAPSHOT, Operation.COPY, Operation.APPLY, Operation.DELETE})
#: a restore of such a kind keeps what it replaces, and can be undone
REVERTING: Final = frozenset({Operation.REVERT, Operation.CONFIRM})
#: what a restore point holds of such a kind can be written below a directory
EXTRACTING: Final = frozenset({Operation.EXTRACT})
MEASURING: Final = frozenset({Operation.MEASURE})
STOPPING: Final = frozenset({Operation.STOP, Operation.START})
#: APPLY of such a kind switches off what runs, no earlier than it must; START lets it run again
RESTARTING: Final = frozenset({Operation.START})
PROBING: Final = frozenset({Operation.PROBE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider does for one kind of node."""

    #: everything that it can do; an operation that is not in here is refused before anything is touched
    operations: frozenset[Operation] = frozenset()
    #: node properties of which one must be set for an operation: without them the node does not have it
    needs: Mapping[Operation, frozenset[str]] = field(default_factory=dict)
    #: whether it offers them by itself on nodes whose blueprint brings no implementation
    offered: bool = True
    #: whether snapshots (``snapshot_incremental: true``) have a COPY after the thaw
    copies_snapshots: bool = False
    #: whether backups (``snapshot_incremental: false``) have a COPY after the thaw
    copies_backups: bool = False
    #: whether FREEZE arms a timer on the node first, which thaws it after `Call.thaw_after_s` by itself
    self_thaw: bool = False
    #: whether a snapshot costs next to nothing, so that restore takes a safety restore point by default
    cheap_snapshot: bool = False
    #: the consistency of a cut when nothing was frozen around it
    alone: Consistency = Consistency.CRASH
    #: the highest consistency of a cut within this node's FREEZE
    ceiling: Consistency = Consistency.APPLICATION
    #: whether FREEZE stops a program in the middle of whatever it does, with all the locks that it has
    pauses: bool = False
    #: whether FREEZE waits for what other programs have begun: none of them may be paused before it
    waits_for_others: bool = False
    #: whether the freeze it offers is wanted around APPLY too; false where APPLY replaces the whole machine
    freeze_for_apply: bool = False
    #: whether APPLY can take what another instance has saved (`Call.origin`)
    restores_elsewhere: bool = False
    #: whether such an APPLY makes a new object, of backups only, and refuses to replace one that is there
    elsewhere_anew: bool = False
    #: the option that lets APPLY make another object, and leave the one that is there alone
    beside: str = ""
    #: whether it can do so with snapshots, too, not with backups only
    beside_snapshots: bool = False
    #: usual duration in seconds, for predicting the frozen window until it was measured here
    typical_s: Mapping[Operation, float] = field(default_factory=dict)

    @property
    def switches_off(self) -> bool:
        """Whether APPLY switches off what runs: a START is owed from the moment it begins."""
        return Operation.START in self.operations and Operation.STOP not in self.operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of node that a provider serves."""

    #: what people call it, such as ``domain``; unique within its provider
    name: str
    #: names of node types; a node belongs to this kind when one is in its hierarchy (the nearest wins)
    types: frozenset[str]
    capabilities: Capabilities
    #: which implementations (dotted functions, or prefixes ending in '.') mean this kind
    functions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A provider, described without importing its SDK; what the entry point names."""

    name: str
    #: ``package.module:Class``, called with one `ProviderSettings`; imported when first needed
    factory: str
    kinds: tuple[Kind, ...] = ()
    #: implementations it answers for whatever the node's type (scripts, commands over SSH); `THE_REST` for
    #: those that nobody else answers for
    functions: frozenset[str] = frozenset()
    #: capabilities for `functions` on nodes of no kind of its own
    capabilities: Capabilities = Capabilities()
    #: dataclass of what an operator may choose (`quiesce.model.options`); imports no SDK
    options: type[Any] | None = None
    #: YAML file of the node types that it brings, next to the module that the entry point names
    node_types: str | None = None
    #: where operators read about it: a URL, or a path in the source repository of its package
    page: str = ""
    #: whether its nodes are the same ones from every machine; else those of the machine that works on them
    remote: bool = False
    #: the extra of quiesce to install when the SDK is missing: ``libvirt``
    extra: str | None = None

    def kind_of(self, function: str, node: Node) -> Kind | None:
        """Return the kind of *node*: by its nearest known type, else by the implementation's name."""
        for type_name in reversed(node.type_hierarchy):
            for kind in self.kinds:
                if type_name in kind.types:
                    return kind
        return next((kind for kind in self.kinds if claims(kind.functions, function)), None)


def claims(functions: frozenset[str], function: str) -> bool:
    """Tell whether *function* is among *functions*: dotted names, prefixes ending in '.', or `THE_REST`."""
    if function in functions or THE_REST in functions:
        return True
    return any(claim.endswith(".") and function.startswith(claim) for claim in functions)
