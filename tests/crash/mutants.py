"""Break the engine, restores, undo, removal and checks on purpose: the tests must find every planted bug.

``make mutants`` copies the package, plants one bug at a time and runs on the copy those tests that have to
find it. A suite that no mutant has failed proves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One planted bug: *old* (which must stand in *file* exactly once) becomes *new*."""

    name: str
    file: str
    old: str
    new: str
    #: who has to find it, as pytest is told
    found_by: tuple[str, ...] = ("tests/crash",)


_UNDO = ("tests/unit/host/test_undo.py",)
_REMOVAL = ("tests/unit/files/test_removal.py",)
_EXCHANGE = ("tests/unit/files/test_exchange.py",)
_CATALOG = ("tests/unit/stores/test_catalog.py",)
_DATABASE_UNDO = ("tests/unit/host/test_database_undo.py",)
_SAVING = ("tests/unit/provider_kit/test_saving.py",)
_BACKUPS = ("tests/unit/backups",)
_COPIES = ("tests/unit/host/test_tree_copies.py",)


def _own_verify(words: str) -> tuple[str, ...]:
    return ("tests/acceptance/test_own_verify.py", "-k", words)


def _elsewhere(words: str) -> tuple[str, ...]:
    return ("tests/acceptance/test_way_back.py", "-k", words)


def _checked(words: str) -> tuple[str, ...]:
    return ("tests/acceptance/test_checked_first.py", "-k", words)


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
        old="            self._note(_done(attempt, completion, outcome, times))\n            self._scheduler.over(step)",
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
        old="        return _BROKEN if began_window",
        new="        return CONTINUE if began_window",
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
        name="something is prepared within the window",
        file="planning/backup.py",
        old="    add_preparations(draft, name)\n    add_freezes(draft)\n",
        new="    add_freezes(draft)\n    add_preparations(draft, name)\n",
    ),
    Mutant(
        name="what was prepared is left behind",
        file="planning/backup.py",
        old="        add_removal_of_preparations(draft, name)\n",
        new="        pass\n",
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
        name="what an apply has switched off is owed nothing",
        file="planning/restore.py",
        old="    add_power_on(draft, applied, point.name)\n",
        new="",
    ),
    Mutant(
        name="the guard is not asked to watch over what an apply switches off",
        file="engine/runner.py",
        old="        self._watched_over = plan.indebting",
        new="        self._watched_over = self._indebting",
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
        old="            if step.id in indebting",
        new="            if step.operation == 'freeze'",
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
        old="        self._journal_error = error\n        self._save_by = None\n",
        new="        raise error\n        self._save_by = None\n",
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
        old="self._settle_with_lease(self._never_answered())",
        new="self._settle_with_lease()",
    ),
    Mutant(
        name="the guard writes before it thaws",
        file="app/run/write_behind.py",
        old="        self._waiting.put(tuple(records))",
        new="        self._executions.take_over(self._execution).append(records)",
    ),
    Mutant(
        name="the guard looks once only at what a living engine owes",
        file="app/run/guard.py",
        old="                    self._settle()  # and what it had still written until then\n",
        new="",
    ),
    Mutant(
        name="a thaw does not wait for what is still being replaced",
        file="engine/debts.py",
        old=" or any(step.operation in REPLACING for step in running.values())",
        new="",
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
        old="            self._env.guard.watch(self._plan.parameters.max_freeze_s)\n",
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
    Mutant(
        name="a restore that is run again makes its own result the former state",
        file="providers/host/former_states.py",
        old="        if before is not None and _goes_on(before, mark):",
        new="        if before is None and mark is None:",
        found_by=_UNDO,
    ),
    Mutant(
        name="the former state goes before the next restore has succeeded",
        file="providers/host/former_states.py",
        old="            self._rename(UNDO, _OLDER)",
        new="            self._rename(UNDO, _KEPT)\n            self._remove_all_unused()",
        found_by=_UNDO,
    ),
    Mutant(
        name="an undo that is run again takes itself back",
        file="providers/host/former_states.py",
        old="        if mark.kept is to:",
        new="        if to is to:",
        found_by=_UNDO,
    ),
    Mutant(
        name="an undo is noted after it was made",
        file="providers/host/former_states.py",
        old="            self._write_undo(replace(mark, reverting=True, present=now))\n",
        new="            del now\n",
        found_by=_UNDO,
    ),
    Mutant(
        name="an interrupted restore is not taken note of",
        file="providers/host/snapshot_dir.py",
        old="            former.take()\n            former.let_go_of_expired()",
        new="            former.let_go_of_expired()",
        found_by=_UNDO,
    ),
    Mutant(
        name="the expired undo of another time is kept, and the fresh one removed",
        file="providers/host/former_states.py",
        old="mark.keep_until <= time.time()",
        new="mark.keep_until > time.time()",
        found_by=_UNDO,
    ),
    Mutant(
        name="what was exchanged wrongly is not exchanged back",
        file="files/exchange.py",
        old="        _renamed(one.directory, one.name, other.directory, other.name, RENAME_EXCHANGE)\n        raise",
        new="        raise",
        found_by=_EXCHANGE,
    ),
    Mutant(
        name="what stays is called removed",
        file="files/removal.py",
        old="                self._removal.left.add(level.prefix + name, error)\n                return False\n        except OSError",
        new="                return False\n        except OSError",
        found_by=_REMOVAL,
    ),
    Mutant(
        name="another tree than the expected one is removed",
        file="files/removal.py",
        old="    if expected is not None and identity != expected:",
        new="    if expected is None and identity is None:",
        found_by=_REMOVAL,
    ),
    Mutant(
        name="removing one name unlocks the others",
        file="files/removal.py",
        old="                if flags and os.fstat(held).st_nlink:",
        new="                if flags < 0:",
        found_by=_REMOVAL,
    ),
    Mutant(
        name="a removal takes what another execution made",
        file="provider_kit/saving.py",
        old="made_by=maker_of(self._job.call)",
        new="made_by=None",
        found_by=_SAVING,
    ),
    Mutant(
        name="a blueprint's own check is believed to have read everything",
        file="provider_kit/implementations.py",
        old='        kind = READ if _flag(told.get("read")) else CHECKED',
        new="        kind = READ",
        found_by=_own_verify("does_not_say_so"),
    ),
    Mutant(
        name="a blueprint's own check that fails is no damage",
        file="provider_kit/implementations.py",
        old="            return proof(CHECKED, damage=str(error))",
        new="            return proof(CHECKED, detail=str(error))",
        found_by=_own_verify("fails_marks"),
    ),
    Mutant(
        name="a check that could not be made is damage",
        file="provider_kit/implementations.py",
        old="            if not error.own:\n                raise\n",
        new="",
        found_by=_own_verify("could_not_be_made"),
    ),
    Mutant(
        name="what a restored database held is not what is kept",
        file="providers/host/former_states.py",
        old="            write(place)\n            os.replace(OTHER, CONTENT, src_dir_fd=place, dst_dir_fd=place)\n",
        new="            write(place)\n            os.unlink(OTHER, dir_fd=place)\n",
        found_by=_DATABASE_UNDO,
    ),
    Mutant(
        name="the undo of a database is not noted before it is made",
        file="providers/host/former_states.py",
        old="                self._write(undo, replace(mark, reverting=True, present=before, schema=self._schema()))\n",
        new="                del before\n",
        found_by=_DATABASE_UNDO,
    ),
    Mutant(
        name="two parts of a restore point go to one instance",
        file="app/elsewhere.py",
        old="        if len(sources) > 1",
        new="        if len(sources) > len(targets)",
        found_by=_elsewhere("go_where_they_are_sent"),
    ),
    Mutant(
        name="a restore elsewhere replaces what it was made of",
        file="app/run/run.py",
        old='    return services.deployments.get(str(request.parameters.get("to") or request.deployment))',
        new="    return services.deployments.get(request.deployment)",
        found_by=_elsewhere("goes_into_another"),
    ),
    Mutant(
        name="a script is given what another deployment has saved",
        file="app/elsewhere.py",
        old="    if own is None or own.function.startswith(",
        new="    if own is None or own.function or own.function.startswith(",
        found_by=("tests/acceptance/test_elsewhere.py", "-k", "that_a_script_restores"),
    ),
    Mutant(
        name="something runs on what a restore elsewhere reads",
        file="app/run/run.py",
        old="    with leased(services, {deployment.name, source}, execution_id):",
        new="    with leased(services, {deployment.name}, execution_id):",
        found_by=("tests/acceptance/test_elsewhere.py", "-k", "nothing_else_runs"),
    ),
    Mutant(
        name="a failed check is forgotten",
        file="app/points/verify.py",
        old="    if point.trust is not Trust.DAMAGED:\n        return",
        new="    if point.trust is Trust.DAMAGED:\n        return",
        found_by=_checked("whose_last_check_failed"),
    ),
    Mutant(
        name="a manifest of another time is taken for the right one",
        file="app/points/verify.py",
        old="        if digest != point.manifest_sha256",
        new="        if digest is None",
        found_by=_checked("manifest_is_found and point"),
    ),
    Mutant(
        name="a good check covers what was damaged after it",
        file="app/points/verify.py",
        old="    return not any(services.manifests.changed_since(each, point, began) for each in directories)",
        new="    return began > 0 or not directories",
        found_by=_checked("good_check"),
    ),
    Mutant(
        name="what was only looked at is proven",
        file="app/points/verify.py",
        old="        partial = read < len(told)",
        new="        partial = read > len(told)",
        found_by=_checked("only_looked_at"),
    ),
    Mutant(
        name="an empty mount point becomes a new repository",
        file="app/points/manifests.py",
        old="        if point.manifest_sha256\n        for artifact in point.artifacts\n    }",
        new="        if point.damage\n        for artifact in point.artifacts\n    }",
        found_by=_checked("not_mounted"),
    ),
    Mutant(
        name="a damaged entry of the catalog is believed",
        file="stores/catalog.py",
        old='    if columns.pop("digest") != _digest(**columns):',
        new='    if columns.pop("digest") is None:',
        found_by=_CATALOG,
    ),
    Mutant(
        name="a backup is believed that the catalog knows otherwise",
        file="backups/backups.py",
        old="        if known is not None and manifest.content != known:\n            raise DamagedArtifactError(",
        new="        if known is not None and manifest.note is None:\n            raise DamagedArtifactError(",
        found_by=_BACKUPS,
    ),
    Mutant(
        name="what was stored is taken to be there still",
        file="repository/session.py",
        old="            there = all(map(self._store.rely, needs_of_item(self._fetcher, item)))",
        new="            there = bool(list(map(self._store.rely, [item.root])))",
        found_by=_BACKUPS,
    ),
    Mutant(
        name="what is young is believed to be unchanged",
        file="providers/host/tree_copies.py",
        old="status.st_ctime_ns < self._since_ns:",
        new="self._since_ns:",
        found_by=_COPIES,
    ),
    Mutant(
        name="a file's other names are not looked at again",
        file="providers/host/tree_copies.py",
        old="        if self._first:\n            return\n",
        new="        if self._copy is not None:\n            return\n",
        found_by=_COPIES,
    ),
    Mutant(
        name="what was removed since the copy is in the cut",
        file="providers/host/cuts.py",
        old="            if place not in self._taken and not self._is_gone(place, -1):\n",
        new="            if place not in self._taken:\n",
        found_by=_COPIES,
    ),
    Mutant(
        name="another directory of the same name is taken for the one that was copied",
        file="providers/host/tree_copies.py",
        old="        return known is not None and known.identity != entry.identity\n",
        new="        return False\n",
        found_by=_COPIES,
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
                *mutant.found_by,
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
    for suite in dict.fromkeys(mutant.found_by for mutant in mutants):
        if survives(replace(SOUND, found_by=suite)) is None:
            print(f"it fails before anything is planted: pytest {' '.join(suite)}")
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
