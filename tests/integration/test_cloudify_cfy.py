"""The workflows inside Cloudify's real engine, run by the real ``cfy``."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from quiesce.blueprint import default_profile, read_cfy_local

from ..repository_objects import packs, spoil  # noqa: TID252  shared by several tests
from ..sshd_on_loopback import Server, needs_sshd, sshd  # noqa: TID252  shared by several tests
from .cloudify_lab.lab import Lab

# the first test installs cfy, and every test starts it a few times
#: the parameters of a full copy
BACKUP = "snapshot_name=one;snapshot_incremental=false"
#: the parameters that name a restore point of which no catalog knows
OLD = "snapshot_name=one;made_elsewhere=true"

pytestmark = [pytest.mark.platform("cfy"), pytest.mark.timeout(900)]


@pytest.fixture
def lab(cfy_place: Path, tmp_path: Path) -> Lab:
    return Lab(place=cfy_place, directory=tmp_path)


def two_tiers(**behaves: dict[str, str]) -> dict[str, Any]:
    """Return a service on a machine, and another machine; *behaves* says what goes wrong where."""
    return {
        "service": {
            "type": "lab.nodes.Service",
            "properties": {"behaves": behaves.get("service", {})},
            "relationships": [{"type": "cloudify.relationships.contained_in", "target": "vm"}],
        },
        "vm": {"type": "lab.nodes.Machine", "properties": {"behaves": behaves.get("vm", {})}},
        "other": {"type": "lab.nodes.Machine", "properties": {"behaves": behaves.get("other", {})}},
    }


def events(output: str) -> list[str]:
    """Return the events of an execution without times and instance suffixes."""
    lines = [line.partition("<examples> ")[2] for line in output.splitlines() if " CFY <examples> " in line]
    return [re.sub(r"_[a-z0-9]{6}(?=[].])", "", line) for line in lines]


def test_all_pins_coexist(cfy_place: Path) -> None:
    done = subprocess.run(
        [str(cfy_place / "bin" / "python"), "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "No broken requirements found."


# -- the commands of the transcripts ----------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "sshd").mkdir()
    with sshd(tmp_path / "sshd") as running:
        yield running


RETRIES = ("--task-retry-interval", "30", "--task-retries", "30")


@needs_sshd
def test_the_documented_commands_give_the_documented_events(lab: Lab, server: Server) -> None:
    """A service frozen over SSH, a VM with snapshots, and the commands as the documentation has them."""
    marker = lab.directory / "frozen-service"
    lab.cfy("profiles", "use", "local")
    lab.init(
        {
            "example_node": {
                "type": "quiesce.nodes.terminal.Service",
                "properties": {
                    "terminal_auth": server.auth,
                    "freeze": [f"touch {marker}"],
                    "thaw": [f"rm -f {marker}"],
                },
                "relationships": [{"type": "cloudify.relationships.contained_in", "target": "qemu_vm"}],
            },
            "qemu_vm": {"type": "lab.nodes.Machine", "properties": {"skip_actions": SKIPPED}},
        }
    )
    made = lab.start("backup", "-p", "snapshot_name=backup_example", *RETRIES)
    assert events(made) == [
        "Starting 'backup' workflow execution",
        *operation("example_node", "freeze.fs_prepare", "quiesce.terminal.freeze"),
        *operation("qemu_vm", "snapshot.create", "lab_operations.create"),
        *operation("example_node", "freeze.fs_finalize", "quiesce.terminal.thaw"),
        "'backup' workflow execution succeeded",
    ]
    assert "LOG <examples> INFO: Backuped to 'backup_example'" in made
    assert not marker.exists()
    restored = lab.start("restore", "-p", "snapshot_name=backup_example", *RETRIES)
    assert events(restored) == [
        "Starting 'restore' workflow execution",
        *operation("example_node", "freeze.fs_prepare", "quiesce.terminal.freeze"),
        *operation("qemu_vm", "snapshot.apply", "lab_operations.apply"),
        *operation("example_node", "freeze.fs_finalize", "quiesce.terminal.thaw"),
        "'restore' workflow execution succeeded",
    ]
    assert "LOG <examples> INFO: Restored from 'backup_example'" in restored
    removed = lab.start("remove_backup", "-p", "snapshot_name=backup_example", *RETRIES)
    assert events(removed) == [
        "Starting 'remove_backup' workflow execution",
        *operation("qemu_vm", "snapshot.delete", "lab_operations.delete"),
        "'remove_backup' workflow execution succeeded",
    ]
    assert "LOG <examples> INFO: Removed 'backup_example'" in removed
    assert lab.made() == []


@needs_sshd
def test_no_secret_gets_through_to_cloudify(lab: Lab, server: Server) -> None:
    """A device repeats its password: not in events, errors, tracebacks, runtime properties or executions."""
    word = "vermilion-quokka-0451"
    device = {
        "type": "quiesce.nodes.terminal.Service",
        "properties": {
            "terminal_auth": {**server.auth, "password": word, "store_logs": True},
            "freeze": [f"echo the password is {word}", f"echo {word} >&2; [ ! -e {lab.directory}/broken ]"],
            "thaw": [f"echo {word} | fold -w 9"],
        },
    }
    lab.init({"device": device, "vm": {"type": "lab.nodes.Machine", "properties": {"skip_actions": SKIPPED}}})
    made = lab.start("backup", "-p", "snapshot_name=one")
    assert "the password is ******" in made
    (lab.directory / "broken").touch()
    failed = lab.start("backup", "-p", "snapshot_name=two", *NO_RETRIES, expect=1)
    assert "quiesce.terminal.freeze" in failed
    kept = [
        path.read_text()
        for kind in ("executions", "node-instances", "operations", "tasks_graphs")
        for path in lab.directory.glob(f".cloudify/**/{kind}/*.json")
    ]
    assert kept
    for text in (made, failed, *kept):
        assert word not in text
        assert word[:12] not in text
        assert "quokka-04" not in text


NO_RETRIES = ("--task-retries", "0")
SKIPPED = ["cloudify.interfaces.freeze.fs_prepare", "cloudify.interfaces.freeze.fs_finalize"]


def operation(node: str, interface: str, function: str) -> list[str]:
    full = f"cloudify.interfaces.{interface}"
    short = interface.partition(".")[2]
    return [
        f"[{node}] Starting to {full}",
        f"[{node}.{short}] Task started '{function}'",
        f"[{node}.{short}] Task succeeded '{function}'",
        f"[{node}] Done {full}",
    ]


def test_suspend_resume_and_statistics(lab: Lab) -> None:
    """Deprecated operations run too, before or after; dependents are suspended first and resumed last."""
    lab.init(two_tiers())
    shown = [line for line in events(lab.start("suspend")) if "Starting to" in line]
    assert shown[:2] == [
        "[vm] Starting to cloudify.interfaces.lifecycle.suspend",
        "[other] Starting to cloudify.interfaces.lifecycle.suspend",
    ] or shown[:2] == [
        "[other] Starting to cloudify.interfaces.lifecycle.suspend",
        "[vm] Starting to cloudify.interfaces.lifecycle.suspend",
    ]
    suspended = [line for line in shown if "freeze.suspend" in line]
    assert len(suspended) == 3
    assert suspended.index("[service] Starting to cloudify.interfaces.freeze.suspend") < suspended.index(
        "[vm] Starting to cloudify.interfaces.freeze.suspend"
    )
    resumed = [line for line in events(lab.start("resume")) if "Starting to" in line]
    assert resumed.index("[vm] Starting to cloudify.interfaces.freeze.resume") < resumed.index(
        "[service] Starting to cloudify.interfaces.freeze.resume"
    )
    assert all("lifecycle.resume" in line for line in resumed[3:])
    measured = events(lab.start("statistics"))
    assert "[vm] Done cloudify.interfaces.statistics.perfomance" in measured


@pytest.mark.parametrize("version", ["1_3", "1_4", "1_5"])
def test_the_plugin_file_of_each_dsl_version_is_accepted(lab: Lab, version: str) -> None:
    lab.init(two_tiers(), version)
    assert "succeeded" in lab.start("backup")
    (made,) = {name.partition("-")[2] for name in lab.made()}
    assert re.fullmatch(r"backup-\d+", made)


def test_operations_of_our_providers_run_with_cloudifys_ctx(lab: Lab) -> None:
    """A directory is backed up in full (copied after the cut), restored and removed, all by quiesce.host."""
    data = lab.directory / "data"
    data.mkdir()
    (data / "file").write_text("before")
    repository = lab.directory / "repository"
    lab.init(
        {
            "volume": {
                "type": "quiesce.nodes.host.Directory",
                "properties": {"path": str(data), "repository": str(repository)},
            }
        }
    )
    made = events(lab.start("backup", "-p", BACKUP))
    assert made.count("[volume.create] Task succeeded 'quiesce.host.snapshot'") == 2
    (data / "file").write_text("after")
    lab.start("restore", "-p", BACKUP)
    assert (data / "file").read_text() == "before"
    assert "size_bytes" in lab.start("statistics")
    lab.start("remove_backup", "-p", BACKUP)
    assert "one" in lab.start("restore", "-p", BACKUP, expect=1)


@pytest.fixture
def restored(lab: Lab) -> Path:
    """A directory that was saved as "before", became "after", and was restored."""
    data = lab.directory / "data"
    data.mkdir()
    (data / "file").write_text("before")
    properties = {"path": str(data), "repository": str(lab.directory / "repository")}
    lab.init({"volume": {"type": "quiesce.nodes.host.Directory", "properties": properties}})
    lab.start("backup", "-p", BACKUP)
    (data / "file").write_text("after")
    (data / "more").write_bytes(bytes(range(256)))
    lab.start("restore", "-p", BACKUP)
    assert (data / "file").read_text() == "before"
    assert not (data / "more").exists()
    return data


def test_a_restore_is_undone_and_that_is_undone(lab: Lab, restored: Path) -> None:
    """What was replaced is back, byte for byte, and then what was written since the restore."""
    (restored / "file").write_text("written since")
    output = lab.start("undo_restore")
    assert "[volume.revert] Task succeeded 'quiesce.host.revert'" in events(output), output
    assert (restored / "file").read_text() == "after"
    assert (restored / "more").read_bytes() == bytes(range(256))
    lab.start("undo_restore", "-p", "undo_to=restored")
    assert (restored / "file").read_text() == "written since"
    assert not (restored / "more").exists()


def test_what_a_restore_has_replaced_is_forgotten(lab: Lab, restored: Path) -> None:
    beside = restored.with_name(".quiesce-data")
    assert (beside / ".undo" / "content" / "file").read_text() == "after"
    lab.start("forget_undo")
    assert not (beside / ".undo").exists()
    assert not list(beside.glob(".kept-*"))
    assert "undone" in lab.start("undo_restore", expect=1)
    assert (restored / "file").read_text() == "before"


def test_a_restore_point_is_extracted_beside_what_runs(lab: Lab, restored: Path) -> None:
    (restored / "file").write_text("written since")
    target = lab.directory / "target"
    lab.start("extract", "-p", f"{BACKUP};target={target}")
    (extracted,) = target.iterdir()
    assert (extracted / "file").read_text() == "before"
    assert (restored / "file").read_text() == "written since"


def test_a_deployment_of_the_local_profile_can_be_taken_over(lab: Lab) -> None:
    nodes = two_tiers()
    nodes["vm"]["interfaces"] = {"cloudify.interfaces.snapshot": {"create": "lab.lab_operations.remember"}}
    lab.init(nodes)
    lab.start("backup", "-p", "snapshot_name=one")
    taken = read_cfy_local(default_profile({"HOME": str(lab.directory)}), "examples")
    assert sorted(taken.instances) == sorted(node_instances(lab))
    (service,) = [each for each in taken.instances.values() if each.node == "service"]
    (link,) = service.links
    assert link.contained
    assert taken.runtime_properties[link.target] == {"remembered": "one"}
    assert taken.blueprint.name == "blueprint.yaml"


# -- restore points by name -------------------------------------------------------------------------------


@pytest.fixture
def saved(lab: Lab) -> Path:
    """A directory on a machine, of which a full restore point "one" was made; its file says "before"."""
    data = lab.directory / "data"
    data.mkdir()
    (data / "file").write_text("before")
    properties = {"path": str(data), "repository": str(lab.directory / "repository")}
    volume = {
        "type": "quiesce.nodes.host.Directory",
        "properties": properties,
        "relationships": [{"type": "cloudify.relationships.contained_in", "target": "vm"}],
    }
    lab.init({"volume": volume, "vm": {"type": "lab.nodes.Machine"}})
    lab.start("backup", "-p", BACKUP)
    (data / "file").write_text("after")
    (lab.directory / "log").unlink()
    return data


def test_a_name_that_nobody_knows_is_refused_with_those_there_are(lab: Lab, saved: Path) -> None:
    """It was taken at its word, and applied to everything; a name there is already is not made again."""
    for workflow in ("restore", "remove_backup"):
        output = lab.start(workflow, "-p", "snapshot_name=on", expect=1)
        assert "there is no restore point of examples 'on' (did you mean 'one'?); there is: one" in output
    assert "there is: one" in lab.start("restore", expect=1)
    assert "already exists" in lab.start("backup", "-p", "snapshot_name=one", expect=1)
    assert "what the newest" in lab.start("backup", "-p", "snapshot_name=latest", expect=1)
    better = lab.start("restore", "-p", "snapshot_name=one;min_consistency=application", expect=1)
    assert "one has the consistency filesystem; min_consistency is application" in better
    assert lab.log() == []
    assert (saved / "file").read_text() == "after"


def test_a_repository_that_is_not_mounted_is_not_begun_anew(lab: Lab, saved: Path) -> None:
    """The full copy went into the empty directory below the mount point."""
    (lab.directory / "repository").rename(lab.directory / "not-mounted")
    output = lab.start("backup", "-p", "snapshot_name=two;snapshot_incremental=false", expect=1)
    assert "the catalog knows backups of examples there" in output
    assert not (lab.directory / "repository").exists()
    assert lab.log() == []
    assert saved.exists()


def test_a_name_that_only_the_repository_knows_is_refused(lab: Lab, saved: Path) -> None:
    for path in (lab.directory / ".local" / "share" / "quiesce").glob("quiesce.db*"):
        path.unlink()
    output = lab.start("backup", "-p", BACKUP, expect=1)
    assert "holds a restore point 'one' of examples, which the catalog does not know" in output
    assert lab.log() == []
    assert saved.exists()


def test_what_is_in_use_is_not_replaced(lab: Lab, saved: Path) -> None:
    """It was found out within the restore, when the machine around it was frozen already."""
    with (saved / "file").open("a"):
        output = lab.start("restore", "-p", "snapshot_name=one", expect=1)
    assert "it is in use by" in output
    assert "nothing was touched" in output
    assert lab.log() == []
    assert (saved / "file").read_text() == "after"


def test_a_consistency_that_cannot_be_met_is_refused(lab: Lab) -> None:
    lab.init({**two_tiers(), "bare": {"type": "lab.nodes.Unfrozen"}})
    output = lab.start("backup", "-p", "snapshot_name=one;min_consistency=filesystem", expect=1)
    assert "min_consistency filesystem cannot be met by bare_" in output
    assert lab.log() == []


@pytest.mark.usefixtures("saved")
def test_every_restore_point_is_removed_at_once(lab: Lab) -> None:
    lab.start("backup", "-p", "snapshot_name=two")
    refused = lab.start("restore", "-p", "snapshot_name=two;snapshot_incremental=false", expect=1)
    assert "two is a snapshot" in refused
    output = lab.start("remove_backup", "-p", "all=true")
    assert "Removed 'one, two'" in output
    assert json.loads(lab.quiesce("backups", "list", "examples", "--json"))["restore_points"] == []
    assert lab.made() == []


def test_what_was_made_in_cloudify_is_listed_and_verified(lab: Lab, saved: Path) -> None:
    """It is read before it is restored, and is not restored when it is found damaged."""
    listed = lab.quiesce("backups", "list", "examples")
    assert re.search(r"one +backup +complete +filesystem", listed), listed
    assert "good 1 items, 6 bytes read" in lab.quiesce("backups", "verify", "examples", "one")
    spoil(packs(lab.directory / "repository"))
    assert "one is damaged" in lab.start("restore", "-p", "snapshot_name=one", expect=1)
    assert "damaged" in lab.start("restore", "-p", "snapshot_name=one;verify_first=none", expect=1)
    assert (saved / "file").read_text() == "after"
    assert lab.log() == []


def test_a_deployment_is_taken_over_with_its_restore_points(lab: Lab, saved: Path) -> None:
    """The blueprint imports our plugin file from another environment's directory."""
    assert "2 nodes, 2 instances" in lab.quiesce("init", "--from-cfy-local", "examples")
    lab.quiesce("restore", "examples", "-p", "snapshot_name=one")
    assert (saved / "file").read_text() == "before"
    (saved / "file").write_text("later")
    lab.quiesce("backup", "examples", "-p", "snapshot_name=two", "-p", "snapshot_incremental=false")
    (saved / "file").write_text("lost")
    lab.start("restore", "-p", "snapshot_name=latest")
    assert (saved / "file").read_text() == "later"


@pytest.mark.usefixtures("saved")
def test_another_deployment_of_that_name_is_left_alone(lab: Lab) -> None:
    other = lab.directory / "other.yaml"
    other.write_text("tosca_definitions_version: cloudify_dsl_1_3\nimports: [cloudify/types/types.yaml]\n")
    lab.quiesce("deployments", "remove", "examples", "--force")
    lab.quiesce("init", str(other), "-b", "examples")
    assert "knows another deployment" in lab.start("backup", "-p", "snapshot_name=two", expect=1)
    assert lab.log() == []


def test_a_second_workflow_waits_for_nothing(lab: Lab) -> None:
    """Two at once would freeze and thaw under one another; it changes nothing that the first works on."""
    lab.init(two_tiers(vm={"create": "wait"}))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(lab.start, "backup", "-p", "snapshot_name=one;max_freeze=600")
        try:
            while not (lab.directory / "waiting").exists() and not first.done():
                time.sleep(0.02)
            for path in instance_files(lab):
                path.write_text(json.dumps({**json.loads(path.read_text()), "runtime_properties": {"a": 1}}))
            second = lab.start("backup", "-p", "snapshot_name=two", expect=1)
            asked = lab.start("statistics")
            kept = lab.python(PROPERTIES_KEPT)
        finally:
            (lab.directory / "interrupted").touch()
        assert "succeeded" in first.result()
    assert "'two'" not in second
    assert "runs on examples" in second
    assert "was interrupted" not in asked
    assert "'a'" not in kept


PROPERTIES_KEPT = """
import os
from quiesce.bootstrap import Application, Settings
print(Application(Settings.of(os.environ)).services.deployments.runtime_properties("examples"))
"""


# -- the old plugin's semantics ---------------------------------------------------------------------------


def test_operations_receive_the_workflows_parameters(lab: Lab) -> None:
    lab.init(two_tiers())
    parameters = "snapshot_name=one;snapshot_incremental=false;snapshot_type=daily"
    output = lab.start("statistics", "-p", parameters, "--allow-custom-parameters")
    assert (
        "told {'snapshot_incremental': 'false', 'snapshot_name': 'one', 'snapshot_type': 'daily'}" in output
    )


def test_only_the_chosen_instances_take_part(lab: Lab) -> None:
    lab.init(two_tiers())
    (vm,) = [name for name in node_instances(lab) if name.startswith("vm_")]
    lab.start("backup", "-p", json.dumps({"snapshot_name": "one", "include_instances": [vm]}))
    assert {line.split()[0] for line in lab.log()} == {vm}
    output = lab.start("backup", "-p", "include_instances=nobody", expect=1)
    assert "nobody" in output
    assert vm in output


def node_instances(lab: Lab) -> list[str]:
    return [path.stem for path in instance_files(lab)]


def instance_files(lab: Lab) -> list[Path]:
    return [*lab.directory.glob(".cloudify/profiles/local/deployments/examples/node-instances/*.json")]


@pytest.mark.parametrize("workflow", ["restore", "remove_backup"])
def test_a_name_must_be_given(lab: Lab, workflow: str) -> None:
    lab.init(two_tiers())
    assert "Backup name must be provided" in lab.start(workflow, expect=1)
    assert lab.log() == []


def test_skipped_actions_are_skipped(lab: Lab) -> None:
    nodes = two_tiers()
    nodes["vm"]["properties"]["skip_actions"] = ["cloudify.interfaces.snapshot.create"]
    lab.init(nodes)
    lab.start("backup", "-p", "snapshot_name=one")
    assert [name.partition("_")[0] for name in lab.made()] == ["other"]


def test_a_dry_run_touches_nothing(lab: Lab) -> None:
    lab.init(two_tiers())
    output = lab.start("backup", "-p", "dry_run=true")
    assert "would cut: " in output
    assert "Backuped to" not in output
    assert lab.log() == []


@pytest.mark.parametrize(
    "selection", ["include_node_types=lab.nodes.Machine", "exclude_node_types=lab.nodes.Service"]
)
def test_the_old_plugins_names_of_selections_are_honoured(lab: Lab, selection: str) -> None:
    """They were ignored in silence, and everything was suspended, or removed."""
    lab.init(two_tiers())
    output = lab.start("backup", "-p", f"snapshot_name=one;{selection}", "--allow-custom-parameters")
    assert sorted(name.partition("_")[0] for name in lab.made()) == ["other", "vm"]
    assert "service_" not in output


def test_a_selection_that_nobody_knows_is_refused(lab: Lab) -> None:
    lab.init(two_tiers())
    output = lab.start("backup", "-p", "include_kinds=vm", "--allow-custom-parameters", expect=1)
    assert "there is no parameter of backup 'include_kinds'" in output
    assert lab.log() == []


# -- nothing stays frozen ---------------------------------------------------------------------------------

TROUBLES = {
    "a failing snapshot": {"other": {"create": "fail"}},
    "a failing freeze": {"vm": {"fs_prepare": "fail"}},
    "a hanging freeze": {"vm": {"fs_prepare": "hang"}},
    "a hanging snapshot": {"vm": {"create": "hang"}},
    "a cancel request": {"vm": {"create": "cancel"}},
}
POOLS = (("--task-thread-pool-size", "1"), ("--task-thread-pool-size", "8"))


@pytest.mark.parametrize("pool", POOLS, ids=["one thread", "eight threads"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_nothing_stays_frozen(lab: Lab, trouble: str, pool: tuple[str, ...]) -> None:
    lab.init(two_tiers(**TROUBLES[trouble]))
    output = lab.start("backup", "-p", "snapshot_name=one;operation_timeout=2", *pool, expect=None)
    assert lab.frozen() == [], output
    assert "workflow execution succeeded" not in output or trouble == "a cancel request"
    assert "Backuped to" not in output
    assert lab.made() == []


def test_the_frozen_time_is_bounded(lab: Lab) -> None:
    """When max_freeze passes, a snapshot that hangs is not waited for."""
    lab.init(two_tiers(vm={"create": "hang"}))
    output = lab.start("backup", "-p", "snapshot_name=one;max_freeze=2", expect=1)
    assert "reached its limit" in output
    assert lab.frozen() == []


@pytest.mark.parametrize("times", [1, 3])
def test_nothing_stays_frozen_after_ctrl_c(lab: Lab, times: int) -> None:
    """A second and a third Ctrl-C do not skip the thaw."""
    lab.init(two_tiers(vm={"create": "wait"}))
    status, output = lab.interrupt("backup", "-p", "snapshot_name=one", times=times)
    assert status != 0
    assert lab.frozen() == [], output
    assert lab.made() == []


# -- what a restore stops ---------------------------------------------------------------------------------


def restarted(**behaves: dict[str, str]) -> dict[str, Any]:
    """Return a service that is stopped for a restore, on a machine; *behaves* says what goes wrong where."""
    return two_tiers(**behaves) | {
        "service": {
            "type": "lab.nodes.Restarted",
            "properties": {"behaves": behaves.get("service", {})},
            "relationships": [{"type": "cloudify.relationships.contained_in", "target": "vm"}],
        }
    }


def test_a_restore_stops_starts_and_probes(lab: Lab) -> None:
    lab.init(restarted())
    lab.start("restore", "-p", OLD)
    service = [line.split()[1] for line in lab.log() if line.startswith("service")]
    assert service == ["stop", "fs_prepare", "fs_finalize", "start", "probe"]
    operations = [line.split()[1] for line in lab.log()]
    assert operations[0] == "stop"
    assert operations.index("start") > len(operations) - 1 - operations[::-1].index("fs_finalize")
    assert lab.stopped() == []


@pytest.mark.parametrize(
    "behaves",
    [
        {"vm": {"apply": "fail"}},
        {"service": {"stop": "fail"}},
        {"vm": {"apply": "cancel"}},
        {"service": {"start": "stumble"}},
    ],
    ids=str,
)
def test_nothing_is_left_stopped(lab: Lab, behaves: dict[str, dict[str, str]]) -> None:
    lab.init(restarted(**behaves))
    output = lab.start("restore", "-p", OLD, expect=None)
    assert any(line.endswith(" stop") for line in lab.log()), output
    assert lab.stopped() == [], output
    assert lab.frozen() == [], output


def test_nothing_is_left_stopped_after_ctrl_c(lab: Lab) -> None:
    lab.init(restarted(vm={"apply": "wait"}))
    status, output = lab.interrupt("restore", "-p", OLD)
    assert status != 0
    assert lab.stopped() == [], output


def test_a_resumed_backup_thaws_and_asks_to_be_started_again(lab: Lab) -> None:
    lab.init(two_tiers())
    for name in node_instances(lab):
        (lab.directory / f"frozen-{name}").touch()
    output = lab.python(RESUME % ("e1", "backup", "backup"))
    assert "was interrupted; everything it may have frozen is thawed" in output
    assert lab.frozen() == []
    assert lab.made() == []


def test_a_resumed_removal_is_brought_to_its_end(lab: Lab) -> None:
    """It owes no thaw, so it need not be started again."""
    lab.init(two_tiers(vm={"delete": "wait"}))
    lab.start("backup", "-p", "snapshot_name=one")
    lab.kill("remove_backup", "-p", "snapshot_name=one", once=(lab.directory / "waiting").exists)
    (lab.directory / "interrupted").touch()
    execution = lab.python(LAST_EXECUTION).strip()
    output = lab.python(RESUME % (execution, "remove_backup", "remove_backup"))
    assert "Removed 'one'" in output
    assert lab.made() == []
    assert json.loads(lab.quiesce("backups", "list", "examples", "--json"))["restore_points"] == []


LAST_EXECUTION = """
import os
from quiesce.bootstrap import Application, Settings
print(Application(Settings.of(os.environ)).services.executions.list("examples")[-1].id)
"""

RESUME = """
import os
from cloudify import dispatch
from cloudify.workflows import local
profile = os.path.join(os.environ["HOME"], ".cloudify", "profiles", "local")
env = local.load_env("examples", local.FileStorage(storage_dir=profile))
context = {
    "type": "workflow", "local": True, "deployment_id": "examples", "blueprint_id": "examples",
    "execution_id": "%s", "workflow_id": "%s", "storage": env.storage, "task_retries": 0,
    "task_retry_interval": 1, "subgraph_retries": 0, "local_task_thread_pool_size": 4, "resume": True,
    "task_name": "quiesce.cloudify.workflows.%s",
}
try:
    dispatch.dispatch(__cloudify_context=context, snapshot_name="one")
except Exception as error:
    print(error)
"""


def test_a_thaw_is_tried_until_it_works(lab: Lab) -> None:
    """Even when Cloudify was told not to retry anything."""
    lab.init(two_tiers(vm={"fs_finalize": "stumble"}))
    output = lab.start("backup", "-p", "snapshot_name=one", "--task-retries", "0")
    assert "succeeded" in output
    assert lab.frozen() == []


def test_as_many_operations_run_side_by_side_as_the_engine_has_threads(lab: Lab) -> None:
    """32 ran, which is what quiesce's own engine does when it is told nothing."""
    meeting = {"behaves": {"fs_prepare": "meet 40", "create": "meet 40"}}
    lab.init({f"vm{number}": {"type": "lab.nodes.Machine", "properties": meeting} for number in range(40)})
    given = "snapshot_name=one;operation_timeout=80;max_freeze=200"
    assert "succeeded" in lab.start("backup", "-p", given, "--task-thread-pool-size", "40", *NO_RETRIES)
    assert len(lab.made()) == 40


def test_an_operation_is_retried_as_cfy_was_told(lab: Lab) -> None:
    lab.init(two_tiers(vm={"create": "stumble"}))
    lab.start("backup", "-p", "snapshot_name=one", "--task-retries", "1", "--task-retry-interval", "0")
    assert len(lab.made()) == 2


@pytest.mark.parametrize("behaves", ["stumble", "poll"])
def test_retries_fit_into_the_frozen_window(lab: Lab, behaves: str) -> None:
    """With the documented flags, which pause as long as the whole window, nothing was tried again."""
    lab.init(two_tiers(vm={"create": behaves}))
    output = lab.start("backup", "-p", "snapshot_name=one;max_freeze=50", *RETRIES)
    assert "tries are repeated after 5 s, not 30 s: max_freeze is 50 s" in output
    assert len(lab.made()) == 2
    assert lab.frozen() == []


def test_what_the_old_plugin_made_is_restored_and_removed(lab: Lab) -> None:
    """Whatever its name is."""
    lab.init(two_tiers())
    for workflow in ("restore", "remove_backup"):
        given = {"snapshot_name": "before the move/2", "made_elsewhere": True}
        assert "succeeded" in lab.start(workflow, "-p", json.dumps(given))
    assert "succeeded" in lab.start("backup", "-p", "snapshot_name=one;snapshot_rotation=-1")
    assert len(lab.made()) == 2


def test_a_failed_backup_leaves_an_older_one_of_that_name_alone(lab: Lab) -> None:
    lab.init(two_tiers(other={"create": "fail"}))
    (other,) = [name for name in node_instances(lab) if name.startswith("other_")]
    (lab.directory / f"made-{other}-one").touch()
    output = lab.start("backup", "-p", "snapshot_name=one", expect=1)
    assert "may have left something incomplete" in output
    assert lab.made() == [f"{other}-one"]


# -- side by side with the old sequence -------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["a failing snapshot", "a failing freeze", "a cancel request"])
def test_the_old_sequence_leaves_nodes_frozen_where_ours_does_not(lab: Lab, trouble: str) -> None:
    lab.init(two_tiers(**TROUBLES[trouble]))
    lab.start("old_backup", expect=None)
    left_by_the_old = lab.frozen()
    for path in lab.directory.glob("frozen-*"):
        path.unlink()
    lab.start("backup", "-p", "snapshot_name=one", expect=None)
    assert left_by_the_old != []
    assert lab.frozen() == []


def test_the_old_sequence_leaves_nodes_frozen_after_ctrl_c(lab: Lab) -> None:
    lab.init(two_tiers(vm={"create": "wait"}))
    lab.interrupt("old_backup")
    assert lab.frozen() != []
