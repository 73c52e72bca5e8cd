"""The script provider keeps the contract when its scripts do: a directory frozen and copied by shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import ExecutionId
from quiesce.model.operation import Operation
from quiesce.ports import Provider, ProviderSettings
from quiesce.providers.script import DESCRIPTION
from quiesce.providers.script.provider import ScriptProvider
from quiesce.testing import ProviderContract, RecordingContext, Subject
from tests.contract.directories import DirectorySubject

SCRIPTS = {
    Operation.FREEZE: "touch frozen",
    Operation.THAW: "rm -f frozen",
    Operation.SUSPEND: "touch suspended",
    Operation.RESUME: "rm -f suspended",
    Operation.SNAPSHOT: """
        mkdir -p made
        copy=made/$snapshot_name.$full
        if [ -e "$copy" ]; then
            [ "$(cat "$copy.owner")" = "$(ctx execution-id)" ] || ctx abort_operation "$copy is not ours"
        else
            ctx execution-id > "$copy.owner"
            cp state "$copy"
        fi
        ctx returns "@{\\"files\\": [\\"$copy\\"]}"
    """,
    Operation.APPLY: """
        copy=made/$snapshot_name.$full
        [ -e "$copy" ] || ctx abort_operation "there is no $copy"
        cp "$copy" state.new && mv state.new state
    """,
    Operation.DELETE: """
        copy=made/$snapshot_name.$full
        if [ "$quiesce_undo" = true ] && [ "$(cat "$copy.owner")" != "$(ctx execution-id)" ]; then exit 0; fi
        rm -f "$copy" "$copy.owner"
    """,
    Operation.MEASURE: """ctx returns "@{\\"size_bytes\\": $(wc -c < state)}" """,
}


class ScriptedDirectory(DirectorySubject):
    operations = frozenset(SCRIPTS)
    capabilities = DESCRIPTION.capabilities

    def __init__(self, root: Path) -> None:
        self._root = root
        self._providers: list[Provider] = []
        self._losing = False
        (root / "state").write_text("")
        for operation, text in SCRIPTS.items():
            self._put(operation, text)

    def provider(self) -> Provider:
        provider = ScriptProvider(ProviderSettings(state_dir="", repository=""))
        self._providers.append(provider)
        return provider

    def close(self) -> None:
        for provider in self._providers:
            provider.close()

    def call(self, operation: Operation, **changes: object) -> Call:
        fields: dict[str, object] = {
            "blueprint_dir": str(self._root),
            "inputs": {
                "script_path": f"{operation}.sh",
                "snapshot_name": str(changes.get("point", "one")),
                "full": str(changes.get("full", False)),
            },
        }
        return super().call(operation, **(fields | changes))

    def lose_answer(self, operation: Operation) -> None:
        self._put(operation, f"{SCRIPTS[operation]}\n[ -e answered ] || {{ touch answered; sleep 60; }}")
        self._losing = True

    @property
    def timeout_s(self) -> float:  # type: ignore[override]
        return 1.5 if self._losing and not (self._root / "answered").exists() else 60.0

    def _put(self, operation: Operation, text: str) -> None:
        (self._root / f"{operation}.sh").write_text(f"set -e\n{text}\n")


class TestScriptProvider(ProviderContract):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Iterator[Subject]:
        subject = ScriptedDirectory(tmp_path)
        yield subject
        subject.close()

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_an_undo_never_removes_what_another_execution_made(self, subject: Subject, full: bool) -> None:
        """A script has no word for a foreign object, but it is told whose undo it runs."""
        provider, context = subject.provider(), RecordingContext()
        provider.perform(subject.call(Operation.SNAPSHOT, full=full), context)
        before = subject.objects()
        other = ExecutionId("exec2")
        with pytest.raises(NonRecoverableError, match="is not ours"):
            provider.perform(subject.call(Operation.SNAPSHOT, full=full, execution=other), context)
        provider.perform(subject.call(Operation.DELETE, full=full, execution=other, undo=True), context)
        assert subject.objects() == before
