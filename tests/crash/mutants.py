"""Break the engine on purpose: every planted bug must make the crash suite fail.

``make mutants`` copies the package, plants one bug at a time and runs the suite on the copy. A suite that no
mutant has failed proves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One planted bug: *old* (which must stand in *file* exactly once) becomes *new*."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        name="the intent is written after the effect",
        file="engine/runner.py",
        old="        durable = self._save(records)\n",
        new="        self._unsaved.extend(records)\n        durable = True\n",
    ),
    Mutant(
        name="a debt is counted from success",
        file="model/history.py",
        old="signs = (self.begun_at.get(step.of, -1), self.done_at.get(step.of, -1))",
        new="signs = (self.done_at.get(step.of, -1),) * 2",
    ),
    Mutant(
        name="the outcome is never written",
        file="engine/runner.py",
        old="            self._note(self._done(attempt, completion, outcome))\n            self._scheduler.over(step)",
        new="            self._history.add(self._done(attempt, completion, outcome))\n"
        "            self._scheduler.over(step)",
    ),
    Mutant(
        name="the thaw is skipped on cancel",
        file="engine/scheduler.py",
        old="        return self._due_thaws(now, free_for_thaws) + self._due_undos(now, free)",
        new="        thaws = [] if self.history.aborted.cancelled else self._due_thaws(now, free_for_thaws)\n"
        "        return thaws + self._due_undos(now, free)",
    ),
    Mutant(
        name="a freeze that comes late is not thawed again",
        file="engine/runner.py",
        old="        self._scheduler.debts.answered_late(attempt.step)",
        new="        del attempt",
    ),
    Mutant(
        name="a thaw is tried once only",
        file="engine/attempts.py",
        old="        return SETTLING_PAUSES_S[min(tries, len(SETTLING_PAUSES_S)) - 1]",
        new="        return None",
    ),
    Mutant(
        name="the bound on the window is not kept",
        file="engine/runner.py",
        old="elif self._window_ends is not None and now >= self._window_ends:",
        new="elif self._window_ends is not None and now >= self._window_ends + 1e9:",
    ),
    Mutant(
        name="cuts from both sides of a thaw are mixed",
        file="engine/recovery.py",
        old="        return _BROKEN\n    if not began_resting",
        new="        return CONTINUE\n    if not began_resting",
    ),
    Mutant(
        name="incomplete things are left behind",
        file="engine/scheduler.py",
        old="        return [step for step in self._undos.values() if self.history.is_owed(step)]",
        new="        return []",
    ),
    Mutant(
        name="the way back is removed after something was replaced",
        file="engine/scheduler.py",
        old="        if self._applied:\n            return []",
        new="        if self._applied and False:\n            return []",
    ),
    Mutant(
        name="a restore goes on without freezing again",
        file="engine/recovery.py",
        old="    return RecoveryDecision(again=(Operation.STOP, Operation.FREEZE))",
        new="    return RecoveryDecision(again=(Operation.STOP,))",
    ),
    Mutant(
        name="a restore goes on without stopping again",
        file="engine/recovery.py",
        old="    return RecoveryDecision(again=(Operation.STOP, Operation.FREEZE))",
        new="    return RecoveryDecision(again=(Operation.FREEZE,))",
    ),
    Mutant(
        name="a stop owes nothing",
        file="planning/stopping.py",
        old="        of=lambda instance: step_id(instance, RESTORE_STOP),",
        new="        of=lambda instance: step_id(instance, RESTORE_PROBE),",
    ),
    Mutant(
        name="what never answered its stop is started at once",
        file="app/calls.py",
        old="            self._finish_stop(step.of)\n",
        new="            pass\n",
    ),
    Mutant(
        name="something is started while it is replaced",
        file="engine/debts.py",
        old="        if not self._owed or any(step.operation in REPLACING for step in running.values()):",
        new="        if not self._owed:",
    ),
    Mutant(
        name="a start does not wait for what it depends on",
        file="engine/debts.py",
        old="        if step.operation is Operation.START and self._awaits(step):",
        new="        if False:",
    ),
    Mutant(
        name="the guard is not asked to watch over what is stopped",
        file="engine/runner.py",
        old="        self._indebting = {step.id for step in plan.steps if step.operation in INDEBTING}",
        new="        self._indebting = {s.id for s in plan.steps if s.operation is Operation.FREEZE}",
    ),
    Mutant(
        name="the guard forgets stops that never answered",
        file="app/run/guard.py",
        old="            if step.operation in INDEBTING",
        new="            if step.operation in INDEBTING and step.operation == 'freeze'",
    ),
    Mutant(
        name="a probe that fails is passed over",
        file="engine/runner.py",
        old="        if step.operation is not Operation.FREEZE:\n            return False",
        new="        if step.operation is not Operation.FREEZE:\n            return step.operation is Operation.PROBE",
    ),
    Mutant(
        name="a lost journal stops the thaw",
        file="engine/runner.py",
        old="        self._journal_error = error\n        if isinstance(error, SupersededError):",
        new="        raise error\n        if isinstance(error, SupersededError):",
    ),
    Mutant(
        name="whoever was superseded goes on writing",
        file="stores/memory.py",
        old="        if self._fence != self._kept.fence:",
        new="        if False:",
    ),
    Mutant(
        name="the database accepts a superseded writer",
        file="stores/journal.py",
        old=".where(executions.c.id == execution, executions.c.fence == fence)",
        new=".where(executions.c.id == execution)",
    ),
    Mutant(
        name="group commit answers before the sync",
        file="stores/database.py",
        old='cursor.execute("PRAGMA synchronous=FULL")',
        new='cursor.execute("PRAGMA synchronous=OFF")',
    ),
    Mutant(
        name="the journal answers before the commit",
        file="stores/journal.py",
        old="        with self._database.write() as connection:\n            length",
        new="        with self._database.errors():\n            connection = self._database.engine.connect()\n"
        "            self._open = connection\n            length",
    ),
    Mutant(
        name="the guard reads a stale journal",
        file="app/run/guard.py",
        old="        return History.of(self._services.executions.journal(self._execution_run.execution.id).read())",
        new="        if not hasattr(self, '_stale'):\n"
        "            journal = self._services.executions.journal(self._execution_run.execution.id)\n"
        "            self._stale = History.of(journal.read())\n        return self._stale",
    ),
    Mutant(
        name="the guard forgets freezes that never answered",
        file="app/run/guard.py",
        old="                    self._owe_again_what_never_answered()\n",
        new="",
    ),
    Mutant(
        name="the guard gives up when it cannot write",
        file="app/run/guard.py",
        old="            return executions.journal(execution)  # cannot be written: thaw first, and say so later",
        new="            raise",
    ),
    Mutant(
        name="guard and engine fight for the lease",
        file="app/run/guard.py",
        old="            except BusyError:  # another engine has resumed it, and settles first of all\n"
        "                self._pause(PAUSE_S)\n                continue",
        new="            except BusyError:\n                self._settle()\n                continue",
    ),
    Mutant(
        name="freezing begins before the guard is ready",
        file="engine/runner.py",
        old="                self._env.guard.watch(self._plan.parameters.max_freeze_s)\n",
        new="",
    ),
    Mutant(
        name="a hung thaw holds up the others",
        file="engine/debts.py",
        old="ORDER_PATIENCE_S = 1.0",
        new="ORDER_PATIENCE_S = 1e6",
    ),
    Mutant(
        name="computes are frozen before services",
        file="planning/window.py",
        old='    for title, is_wanted in (("freeze services", _is_service), ("freeze computes", _is_compute)):',
        new='    for title, is_wanted in (("freeze computes", _is_compute), ("freeze services", _is_service)):',
    ),
    Mutant(
        name="an undo removes what another execution made",
        file="app/calls.py",
        old="            undo=step.role is Role.UNDO,",
        new="            undo=False,",
    ),
    Mutant(
        name="the catalog calls a failed backup complete",
        file="app/points/catalog.py",
        old="    if complete == len(cuts):\n        return PointState.COMPLETE",
        new="    if complete >= 0:\n        return PointState.COMPLETE",
    ),
)


#: nothing is planted: the suite must pass, or all that it finds means nothing
SOUND = Mutant(name="nothing", file="engine/runner.py", old="", new="")


def survives(mutant: Mutant) -> str | None:
    """Return why *mutant* was not found; None when it was."""
    with tempfile.TemporaryDirectory(prefix="quiesce-mutant-") as scratch:
        package = Path(scratch) / "quiesce"
        shutil.copytree(ROOT / "src" / "quiesce", package, ignore=shutil.ignore_patterns("__pycache__"))
        target = package / mutant.file
        text = target.read_text()
        if mutant.old and text.count(mutant.old) != 1:
            return f"its place in {mutant.file} is gone: put the mutant right"
        target.write_text(text.replace(mutant.old, mutant.new) if mutant.old else text)
        environment = os.environ | {"PYTHONPATH": scratch, "QUIESCE_SIZE": "mutant"}
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "tests/crash",
                "-x",
                "-q",
                "--no-header",
                "-p",
                "no:cacheprovider",
                "--timeout",
                "60",
            ],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode == 0:
        return "every test passed"
    return (
        None if run.returncode == 1 else f"the suite could not run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
    )


def main() -> int:
    """Try every mutant, two at a time; return 1 when one survives."""
    wanted = sys.argv[1:]
    mutants = [m for m in MUTANTS if not wanted or any(word in m.name for word in wanted)]
    if survives(SOUND) is None:
        print("the crash suite fails before anything is planted: make crash")
        return 1
    survivors = 0
    with ThreadPoolExecutor(2) as pool:
        for mutant, why in zip(mutants, pool.map(survives, mutants), strict=True):
            survivors += why is not None
            print(
                f"{'SURVIVED' if why else 'found   '}  {mutant.name}{f': {why}' if why else ''}", flush=True
            )
    print(f"{len(mutants) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
