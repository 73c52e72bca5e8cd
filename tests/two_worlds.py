"""One workflow on a real platform and on what stands for it: what was asked, made and told, side by side.

Both run through the whole engine in this process. What must differ (ids, times, paths) is given a common name
first; whatever differs after that needs a reason, or the comparison fails.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from quiesce.app.run.execution import NoGuard, Watching
from quiesce.app.run.run import run_workflow
from quiesce.bootstrap import Application, Settings
from quiesce.model.deployment import Deployment
from quiesce.model.ids import DeploymentName, InstanceId, Json, NodeId
from quiesce.model.records import Begun, Done, Ended, Failed, Logged, Record
from quiesce.model.request import WorkflowRequest
from quiesce.model.topology import Instance, Node, Topology
from quiesce.ports import Provider

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: what a disk's content decides (the stand-ins' disks hold a word only), times, and what is made of them
_VARYING = (
    (re.compile(r'"(address|checksum|sha256)": "[0-9a-f]+"'), r'"\1": "<checksum>"'),
    (re.compile(r'"((?:\w+_)?bytes)": \d+'), r'"\1": "<size>"'),
    (re.compile(r'"repository": "[0-9a-f]{32}"'), '"repository": "<id>"'),
    (re.compile(r'"(\w+_at)": [0-9.]+'), r'"\1": "<time>"'),
    (re.compile(r"(quiesce-[0-9a-f]{10})-[0-9a-f]{10}"), r"\1-<execution>"),
)


@dataclass
class Seen:
    """What one workflow did on one world."""

    #: calls that change something, each as often as it was made
    changes: Counter[str] = field(default_factory=Counter)
    #: calls that only read; how often depends on how long things take
    reads: set[str] = field(default_factory=set)
    #: what was kept in the catalog, step by step
    artifacts: list[str] = field(default_factory=list)
    #: everything that was told, in order
    events: list[str] = field(default_factory=list)


class World:
    """One platform, with one deployment of one instance on it."""

    def __init__(
        self,
        home: Path,
        provider: Provider,
        kind: Sequence[str],
        properties: Mapping[str, Json],
        names: Mapping[str, str],
    ) -> None:
        """*names* gives what is called otherwise on the other world a common name."""
        self.asked: list[tuple[bool, str]] = []
        self._names = dict(names)
        self._application = Application(Settings(home=home, database_url=f"sqlite:///{home}/quiesce.db"))
        self._services = replace(self._application.services, provider=lambda _: provider, guard=NoGuard)
        node = Node(id=NodeId("web"), type=kind[-1], type_hierarchy=tuple(kind), properties=dict(properties))
        instance = Instance(id=InstanceId("web_1"), node=node.id)
        topology = Topology(nodes={node.id: node}, instances={instance.id: instance})
        deployment = Deployment(
            name=DeploymentName("lab"),
            blueprint="",
            blueprint_dir="",
            created_at=time.time(),
            topology=topology,
        )
        self._services.deployments.add(deployment, {})

    def run(self, workflow: str, **parameters: Json) -> Seen:
        """Run a workflow to its end; it must succeed."""
        self.asked.clear()
        request = WorkflowRequest(deployment="lab", workflow=workflow, parameters=parameters)
        result = run_workflow(self._services, request, Watching())
        assert result.error is None, result.error
        execution = result.report.execution.id
        self._names[execution] = "<execution>"
        steps = {step.id: step for step in self._services.executions.plan(execution).steps}
        seen = Seen()
        for changing, text in list(self.asked):
            if changing:
                seen.changes[self._named(text)] += 1
            else:
                seen.reads.add(self._named(text))
        for record in self._services.executions.journal(execution).read():
            step = steps[record.step] if getattr(record, "step", None) else None
            where = step.operation.value if step is not None else workflow
            if isinstance(record, Done) and record.outcome.artifact is not None:
                text = json.dumps(record.outcome.artifact, sort_keys=True)
                seen.artifacts.append(self._named(f"{where}: {text}"))
            if (told := _told(record)) is not None:
                seen.events.append(self._named(f"{where}: {told}"))
        return seen

    def close(self) -> None:
        """Release everything."""
        self._application.close()

    def _named(self, text: str) -> str:
        for theirs, ours in self._names.items():
            text = text.replace(theirs, ours)
        for pattern, name in _VARYING:
            text = pattern.sub(name, text)
        return _UUID.sub("<id>", text)


@dataclass(frozen=True)
class Reason:
    """Why the worlds may differ in what matches."""

    pattern: str
    why: str


class Comparison:
    """The differences between two worlds, each with its reason; prints them."""

    def __init__(self, reasons: Sequence[Reason], say: Callable[[str], None] = print) -> None:
        self._reasons = reasons
        self._say = say
        self.unexplained: list[str] = []
        self._used: set[str] = set()

    def of(self, title: str, real: Seen, stand_in: Seen) -> None:
        """Compare what one workflow did."""
        same = 0
        for word, ours, theirs in (
            ("call", _counted(real.changes), _counted(stand_in.changes)),
            ("read", sorted(real.reads), sorted(stand_in.reads)),
            ("artifact", real.artifacts, stand_in.artifacts),
            ("event", real.events, stand_in.events),
        ):
            only = [("real", line) for line in _without(ours, theirs)]
            only += [("stand-in", line) for line in _without(theirs, ours)]
            same += len(ours) - len(_without(ours, theirs))
            for where, line in only:
                self._difference(f"{title}: {word} on the {where} only: {line}")
            if word == "event" and not only and ours != theirs:
                self._difference(f"{title}: events in another order: {ours} {theirs}")
        self._say(f"{title}: {same} equal")

    def _difference(self, text: str) -> None:
        reason = next((one for one in self._reasons if re.search(one.pattern, text)), None)
        if reason is None:
            self.unexplained.append(text)
        else:
            self._used.add(reason.pattern)
        self._say(f"  {text}\n    {'because ' + reason.why if reason else 'NOT EXPLAINED'}")

    def finish(self) -> None:
        """Fail where something is not explained, or is explained that does not happen."""
        assert self.unexplained == []
        unused = [one.pattern for one in self._reasons if one.pattern not in self._used]
        assert unused == [], "these reasons explain nothing"


def _counted(found: Counter[str]) -> list[str]:
    return sorted(f"{text} x{number}" for text, number in found.items())


def _without(some: Sequence[str], others: Sequence[str]) -> list[str]:
    return list((Counter(some) - Counter(others)).elements())


def _told(record: Record) -> str | None:
    """Return what an event says, times and progress left out."""
    match record:
        case Begun():
            return f"begun, attempt {record.attempt}"
        case Done():
            consistency = record.outcome.consistency
            worth = "" if consistency is None else f", {consistency.name.lower()}"
            return f"done{worth} {record.outcome.note}".rstrip()
        case Failed():
            return f"failed: {record.code} {record.message}"
        case Logged():
            return f"{record.level.value}: {record.message}"
        case Ended():
            return f"ended: {record.ending.value}"
    return None
