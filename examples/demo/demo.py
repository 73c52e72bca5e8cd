"""The whole of quiesce on one machine, in under a minute: ``make demo``.

A small shop runs and is written to all the time. It is backed up, measured, suspended, destroyed and
restored through quiesce's command line; after each restore it is proved that the state is exactly the one
at the cut. Exits non-zero when a proof fails. Everything happens in a temporary directory.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from application import HERE, Application
from clients import Clients, Write
from commands import BOLD, DIM, GREEN, PLAIN, RED, Quiesce
from proofs import Proof, prove, read_state

SNAPSHOT, BACKUP = "before-release", "nightly"


class Demo:
    """The story, chapter by chapter."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shop = Application(root / "shop")
        self.quiesce = Quiesce(root / "quiesce")
        self.proofs: list[Proof] = []
        self.windows: dict[str, float] = {}
        self.began = time.monotonic()

    def tell(self) -> int:
        """Tell all of it; return the exit status."""
        self._chapter("A shop opens: a web service with an SQLite database, a worker that writes files")
        port = self.shop.start()
        with Clients(port, "first") as clients:
            clients.wait_for(100)
            self._say(f"four clients place orders all the time; {len(clients.ledger)} acknowledged so far")
            self._describe()
            self._back_up(clients)
            self._measure()
            self._suspend(clients)
        self._bad_release(clients.ledger)
        self._disaster(clients.ledger)
        self._remove()
        return self._sum_up()

    def _describe(self) -> None:
        self._chapter("Quiesce reads the blueprint, and says what a backup would do")
        self.quiesce("init", str(HERE / "blueprint.yaml"), "-b", "shop", "-i", f"root={self.shop.root}")
        self.quiesce("plan", "backup", "shop")

    def _back_up(self, clients: Clients) -> None:
        self._chapter("Two restore points under load: a snapshot beside the data, and a full backup")
        self.quiesce("backup", "shop", "-p", f"snapshot_name={SNAPSHOT}")
        self._note_window(SNAPSHOT)
        clients.wait_for(100)
        self.quiesce("backup", "shop", "-p", f"snapshot_name={BACKUP}", "-p", "snapshot_incremental=false")
        self._note_window(BACKUP)
        clients.wait_for(100)
        self.quiesce("backups", "list", "shop")
        self.quiesce("backups", "verify", "shop", BACKUP)

    def _measure(self) -> None:
        self._chapter("Statistics")
        self.quiesce("statistics", "shop")
        self.quiesce("executions", "show", self.quiesce.last_execution("statistics"))

    def _suspend(self, clients: Clients) -> None:
        self._chapter("Suspend: nothing moves. Resume: everything goes on")
        self.quiesce("suspend", "shop")
        before = (len(clients.ledger), self._stored())
        time.sleep(1.0)
        after = (len(clients.ledger), self._stored())
        self._prove(
            Proof(
                "suspended, nothing moves for a second",
                before == after and set(self.shop.states()) == {"T"},
                f"{before[0]} orders acknowledged before, {after[0]} after; processes {self.shop.states()}",
            )
        )
        self.quiesce("resume", "shop")
        clients.wait_for(50)
        self._prove(
            Proof(
                "resumed, the same processes go on",
                "T" not in self.shop.states(),
                f"{len(clients.ledger) - after[0]} orders more",
            )
        )

    def _bad_release(self, ledger: Sequence[Write]) -> None:
        self._chapter("A bad release spoils the data: half of the orders are gone, receipts are overwritten")
        self.shop.kill()
        database = sqlite3.connect(self.shop.data / "shop.db")
        with database:
            database.execute("DELETE FROM orders WHERE id % 2")
        database.close()
        for receipt in (self.shop.data / "receipts").glob("*7.txt"):
            receipt.write_text("spoilt")
        self._restore(SNAPSHOT, ledger)

    def _disaster(self, ledger: Sequence[Write]) -> None:
        self._chapter("A disaster: data and snapshots are gone, only the repository is left")
        self.shop.kill()
        for path in self.shop.root.iterdir():
            if path.name != "run":
                shutil.rmtree(path)
        self._say(f"left in {self.shop.root}: {[path.name for path in self.shop.root.iterdir()]}")
        self._restore(BACKUP, ledger)

    def _restore(self, name: str, ledger: Sequence[Write]) -> None:
        self.quiesce("restore", "shop", "-p", f"snapshot_name={name}")
        state = read_state(self.shop.data)
        for proof in prove(state, ledger, self.quiesce.window(name)):
            self._prove(proof)
        with Clients(self.shop.start(), f"after-{name}") as clients:
            clients.wait_for(20)
            self._prove(
                Proof(
                    "the shop goes on from there",
                    min(write.order for write in clients.ledger) == max(state.orders) + 1,
                    f"the next order is number {min(write.order for write in clients.ledger)}",
                )
            )

    def _remove(self) -> None:
        self._chapter("Remove both restore points")
        for name in (SNAPSHOT, BACKUP):
            self.quiesce("remove-backup", "shop", "-p", f"snapshot_name={name}")
        self.shop.kill()
        self.quiesce("restore", "shop", "--forget-undo")
        points = (self.root / "quiesce" / "repository" / "points").rglob("*")
        left = [*self.shop.root.glob(".quiesce-*"), *points]
        self._prove(Proof("nothing of them is left", not left, f"{len(left)} things left"))

    def _sum_up(self) -> int:
        failed = [proof for proof in self.proofs if not proof.holds]
        self._chapter(f"{len(self.proofs) - len(failed)} of {len(self.proofs)} proofs hold")
        for name, window_s in self.windows.items():
            self._say(f"frozen window of {name}: {window_s * 1000:.0f} ms, measured")
        self._say(f"all of it took {time.monotonic() - self.began:.0f} s")
        for proof in failed:
            print(f"  {RED}FAILED{PLAIN} {proof.claim}: {proof.detail}")
        return 1 if failed else 0

    def _note_window(self, name: str) -> None:
        point = self.quiesce.point(name)
        self.windows[name] = point["window_s"]
        self._say(f"consistency: {point['consistency']}; frozen for {point['window_s'] * 1000:.0f} ms")

    def _stored(self) -> tuple[int, int]:
        state = read_state(self.shop.data)
        return len(state.orders), len(state.receipts)

    def _prove(self, proof: Proof) -> None:
        self.proofs.append(proof)
        mark = f"{GREEN}proved{PLAIN}" if proof.holds else f"{RED}FAILED{PLAIN}"
        print(f"  {mark}  {proof.claim} {DIM}({proof.detail}){PLAIN}", flush=True)

    def _chapter(self, title: str) -> None:
        print(f"\n{BOLD}{title}{PLAIN}", flush=True)

    def _say(self, text: str) -> None:
        print(f"  {text}", flush=True)


def main() -> int:
    root = Path(tempfile.mkdtemp(prefix="quiesce-demo-"))
    demo = Demo(root)
    try:
        status = demo.tell()
    finally:
        demo.shop.kill()
    if status == 0:
        shutil.rmtree(root)
    else:
        print(f"  everything is kept for you to look at in {root}")
    return status


if __name__ == "__main__":
    sys.exit(main())
