"""A restore's intention, durable before its first effect, so that another process can finish it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.model.ids import Json
from quiesce.providers.gcp.references import Reference, parse

#: runtime property that holds the swap which is under way
UNDER_WAY: Final = "quiesce_restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One disk that takes another one's place."""

    #: what it is made from is found by this in the artifact: the disk that was copied
    source: Reference
    new: Reference
    #: None: nothing is attached where it goes
    old: Reference | None
    #: None: it is attached to no machine
    machine: Reference | None
    device: str
    boot: bool
    auto_delete: bool
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """All exchanges of one restore of one instance."""

    execution: str
    exchanges: tuple[Exchange, ...]
    #: the machines that ran before, and will run again
    restart: tuple[Reference, ...]
    #: disks that an earlier restore made and did not bring to its end
    leftovers: tuple[Reference, ...] = ()

    @property
    def machines(self) -> tuple[Reference, ...]:
        """Every machine that it touches."""
        found = {exchange.machine for exchange in self.exchanges if exchange.machine is not None}
        return tuple(sorted(found, key=lambda machine: machine.path))

    def as_json(self) -> dict[str, Json]:
        """Return it as plain data."""
        return {
            "execution": self.execution,
            "exchanges": [_as_json(exchange) for exchange in self.exchanges],
            "restart": [machine.path for machine in self.restart],
            "leftovers": [disk.path for disk in self.leftovers],
        }


def swap_of(entry: Json) -> Swap | None:
    """Return the swap that was begun and not finished, if any."""
    if not isinstance(entry, dict):
        return None
    return Swap(
        execution=str(entry.get("execution")),
        exchanges=tuple(_exchange_of(exchange) for exchange in _mappings(entry.get("exchanges"))),
        restart=tuple(parse(str(path)) for path in _values(entry.get("restart"))),
        leftovers=tuple(parse(str(path)) for path in _values(entry.get("leftovers"))),
    )


def _as_json(exchange: Exchange) -> dict[str, Json]:
    return {
        "source": exchange.source.path,
        "new": exchange.new.path,
        "old": exchange.old.path if exchange.old else None,
        "machine": exchange.machine.path if exchange.machine else None,
        "device": exchange.device,
        "boot": exchange.boot,
        "auto_delete": exchange.auto_delete,
        "mode": exchange.mode,
    }


def _exchange_of(entry: Mapping[str, Json]) -> Exchange:
    return Exchange(
        source=parse(str(entry["source"])),
        new=parse(str(entry["new"])),
        old=_maybe(entry["old"]),
        machine=_maybe(entry["machine"]),
        device=str(entry["device"]),
        boot=bool(entry["boot"]),
        auto_delete=bool(entry["auto_delete"]),
        mode=str(entry["mode"]),
    )


def _maybe(path: Json) -> Reference | None:
    return parse(str(path)) if path else None


def _values(entry: Json) -> Sequence[Json]:
    return entry if isinstance(entry, list) else ()


def _mappings(entry: Json) -> list[Mapping[str, Json]]:
    return [value for value in _values(entry) if isinstance(value, dict)]
