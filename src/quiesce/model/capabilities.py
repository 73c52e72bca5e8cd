"""What a provider promises, as data: planning relies on it before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation

#: in `Description.functions`: whatever no other provider claims
THE_REST: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider does for one kind of node."""

    #: what it offers by itself on nodes whose blueprint brings no implementation for it
    operations: frozenset[Operation] = frozenset()
    #: whether snapshots (``snapshot_incremental: true``) have a COPY after the thaw
    copies_snapshots: bool = False
    #: whether backups (``snapshot_incremental: false``) have a COPY after the thaw
    copies_backups: bool = False
    #: whether FREEZE arms a timer on the node first, which thaws it after `Call.thaw_after_s` by itself
    self_thaw: bool = False
    #: whether a snapshot costs next to nothing, so that restore takes a safety restore point by default
    cheap_snapshot: bool = False
    #: what a cut is worth when nothing of ours was frozen around it
    alone: Consistency = Consistency.CRASH
    #: whether the freeze it offers is wanted around APPLY too; false where APPLY replaces the whole machine
    freeze_for_apply: bool = False
    #: usual duration in seconds, for predicting the frozen window until it was measured here
    typical_s: Mapping[Operation, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of node that a provider serves."""

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
    #: what its cut is worth and promises for `functions` on nodes of no kind of its own
    capabilities: Capabilities = Capabilities()
    #: the extra to install when the SDK is missing: ``quiesce[libvirt]``
    extra: str | None = None
