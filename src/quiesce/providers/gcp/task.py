"""Everything that one call of the engine needs, read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from quiesce.model.call import Call
from quiesce.ports import Context
from quiesce.providers.gcp.client import Compute
from quiesce.providers.gcp.names import POINT, Mark
from quiesce.providers.gcp.notebook import Notebook
from quiesce.providers.gcp.options import Options
from quiesce.providers.gcp.parts import IMAGE, INSTANT, SNAPSHOT, Piece
from quiesce.providers.gcp.references import Reference, region_of
from quiesce.providers.gcp.resources import Copy, Disk
from quiesce.providers.gcp.target import Noun, Target
from quiesce.providers.gcp.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What concurrent calls have in common."""

    copies: Watch[dict[Reference, Copy]]
    disks: Watch[dict[Reference, Disk]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One list that copies are found in."""

    collection: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One call: what it is about, how it was asked for, and the means to do it."""

    call: Call
    context: Context
    compute: Compute
    target: Target
    options: Options
    mark: Mark
    shared: Shared
    notes: Notebook
    #: disks of the target's machine that other nodes of the deployment stand for
    covered: Callable[[], frozenset[Reference]]

    def look(self, place: Place) -> dict[Reference, Copy]:
        """Return all copies of this restore point in *place*, together with whoever else asks."""
        within = self.target.reference.sibling(place.collection, "any", scope=place.scope)
        return self.shared.copies.look(
            (within.project, place.scope, place.collection, self.mark.point),
            lambda: self.compute.copies(within, POINT, self.mark.point),
            self.compute.patience,
        )

    def places(self) -> frozenset[Place]:
        """Return everywhere that copies of the target can be."""
        here = self.target.reference
        scopes = {here.scope}
        if self.target.noun is Noun.MACHINE:
            scopes.add(f"regions/{region_of(here.place)}")
            images = {Place(collection=IMAGE, scope="global")}
        else:
            images = set()
        instants = {Place(collection=INSTANT, scope=scope) for scope in scopes}
        return frozenset({Place(collection=SNAPSHOT, scope="global")} | instants | images)

    def disks_around(self, disk: Reference) -> dict[Reference, Disk]:
        """Return the disks in the same place as *disk*, together with whoever else asks."""
        return self.shared.disks.look(
            (disk.project, disk.scope), lambda: self.compute.disks(disk), self.compute.patience
        )


def places_of(pieces: Iterable[Piece]) -> frozenset[Place]:
    """Return where *pieces* are listed."""
    return frozenset(Place(collection=piece.copy.collection, scope=piece.copy.scope) for piece in pieces)
