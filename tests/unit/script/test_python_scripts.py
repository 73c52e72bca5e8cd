"""Python scripts and the `ctx` they know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError, RecoverableError
from quiesce.model.operation import Operation
from quiesce.model.records import Level
from quiesce.testing import RecordingContext

Run = Any


def test_a_script_logs_what_it_finds_in_its_node(run: Run, context: RecordingContext) -> None:
    run(
        "resume.py",
        "from cloudify import ctx\n"
        "ctx.logger.info('resume server_id=%s', ctx.node.properties['resource_id'])\n",
    )
    assert (Level.INFO, "resume server_id=Server!") in context.lines


def test_levels_and_printed_lines_reach_the_log(run: Run, context: RecordingContext) -> None:
    run(
        "say.py",
        "import sys\nfrom cloudify import ctx\n"
        "ctx.logger.warning('careful')\nctx.logger.error('bad')\nctx.logger.debug('detail')\n"
        "print('printed')\nprint('to stderr', file=sys.stderr)\nsys.stdout.write('no newline')\n",
    )
    assert set(context.lines) == {
        (Level.WARNING, "careful"),
        (Level.ERROR, "bad"),
        (Level.DEBUG, "detail"),
        (Level.INFO, "<out> printed"),
        (Level.INFO, "<err> to stderr"),
        (Level.INFO, "<out> no newline"),
    }


def test_a_script_knows_where_it_is(run: Run) -> None:
    outcome = run(
        "where.py",
        "from cloudify import ctx\n"
        "ctx.returns([ctx.node.id, ctx.node.name, ctx.node.type, ctx.node.type_hierarchy, ctx.instance.id,\n"
        "  ctx.deployment.id, ctx.execution_id, ctx.workflow_id, ctx.operation.name,\n"
        "  ctx.operation.retry_number, ctx.operation.max_retries, ctx.type, __name__])\n",
        call={"attempt": 3},
    )
    assert outcome.result == [
        "server", "server", "server_type", ["cloudify.nodes.Root", "server_type"], "server_ab12cd",
        "examples", "exec1", "suspend", "cloudify.interfaces.freeze.suspend",
        2, 7, "node-instance", "__main__",
    ]  # fmt: skip


def test_runtime_properties_are_read_changed_and_saved(run: Run, context: RecordingContext) -> None:
    run(
        "count.py",
        "from cloudify import ctx\np = ctx.instance.runtime_properties\n"
        "p['count'] += 1\np.setdefault('deep', {})['list'] = [1, {'a': None}]\ndel p['gone']\n",
    )
    assert context.runtime_properties == {"count": 2, "deep": {"list": [1, {"a": None}]}}


def test_a_nested_change_is_saved_too(run: Run, context: RecordingContext) -> None:
    run(
        "nested.py",
        "from cloudify import ctx\nctx.instance.runtime_properties['deep']['a'].append(2)\n",
        call={"runtime_properties": {"deep": {"a": [1]}}},
    )
    assert context.runtime_properties == {"deep": {"a": [1, 2]}}


def test_a_failing_script_keeps_what_it_noted(run: Run, context: RecordingContext) -> None:
    with pytest.raises(RecoverableError):
        run(
            "fail.py",
            "from cloudify import ctx\nctx.instance.runtime_properties['id'] = 'x'\nraise ValueError\n",
        )
    assert context.runtime_properties == {"count": 1, "gone": True, "id": "x"}


def test_node_properties_cannot_be_changed(run: Run) -> None:
    with pytest.raises(RecoverableError, match="node properties cannot be changed"):
        run("set.py", "from cloudify import ctx\nctx.node.properties['resource_id'] = 'other'\n")


def test_inputs_come_as_parameters_and_as_environment(run: Run) -> None:
    outcome = run(
        "inputs.py",
        "import os\nfrom cloudify import ctx\nfrom cloudify.state import ctx_parameters as inputs\n"
        "ctx.returns([inputs['size'], inputs.name, 'process' in inputs, os.environ['size'],\n"
        "  os.environ['name'], os.environ['flags'], os.environ['extra']])\n",
        size=3,
        name="x y",
        flags={"on": True},
        process={"env": {"extra": "more"}},
    )
    assert outcome.result == [3, "x y", False, "3", "x y", '{"on": true}', "more"]


@pytest.mark.parametrize(
    ("statement", "error", "message", "retry_after_s"),
    [
        ("raise NonRecoverableError('never')", NonRecoverableError, "NonRecoverableError: never", None),
        ("raise RecoverableError('later', retry_after=7)", RecoverableError, "RecoverableError: later", 7.0),
        ("raise OperationRetry('again')", RecoverableError, "OperationRetry: again", None),
        (
            "raise HttpException('http://a', 404, 'gone')",
            NonRecoverableError,
            r"404 \(http://a\) : gone",
            None,
        ),
        ("raise KeyError('oops')", RecoverableError, "KeyError: 'oops'", None),
        ("import sys; sys.exit(3)", RecoverableError, "ended with exit status 3", None),
        ("import os; os.kill(os.getpid(), 9)", RecoverableError, "was killed by SIGKILL", None),
        ("ctx.abort_operation('stop')", NonRecoverableError, "stop", None),
        ("ctx.retry_operation('soon', 5)", RecoverableError, "soon", 5.0),
        ("ctx.operation.retry(message='wait', retry_after=2)", RecoverableError, "wait", 2.0),
        ("ctx.returns(1); ctx.returns(2)", NonRecoverableError, "more than one of", None),
        ("def", RecoverableError, "SyntaxError", None),
    ],
)
def test_a_script_says_whether_trying_again_helps(
    run: Run, statement: str, error: type[Exception], message: str, retry_after_s: float | None
) -> None:
    with pytest.raises(error, match=message) as caught:
        run("raise.py", f"from cloudify import ctx\nfrom cloudify.exceptions import *\n{statement}\n")
    assert caught.value.retry_after_s == retry_after_s


def test_an_abort_is_the_last_word_also_when_the_script_goes_on(run: Run) -> None:
    with pytest.raises(NonRecoverableError, match="enough"):
        run("abort.py", "from cloudify import ctx\nctx.abort_operation('enough')\nprint('still here')\n")


def test_files_next_to_the_blueprint_are_read_and_rendered(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.txt").write_text("id={{ ctx.instance.id }} port={{ port }}\n")
    outcome = run(
        "files.py",
        "from cloudify import ctx\n"
        "ctx.returns([ctx.get_resource('config.txt').decode(),\n"
        "  open(ctx.download_resource('config.txt')).read(),\n"
        "  ctx.get_resource_and_render('config.txt', {'port': 80}),\n"
        "  open(ctx.download_resource_and_render('config.txt', template_variables={'port': 81})).read()])\n",
    )
    template = "id={{ ctx.instance.id }} port={{ port }}\n"
    assert outcome.result == [template, template, "id=server_ab12cd port=80\n", "id=server_ab12cd port=81\n"]


def test_files_elsewhere_are_refused(run: Run) -> None:
    with pytest.raises(RecoverableError, match="not below the blueprint's directory"):
        run("escape.py", "from cloudify import ctx\nctx.get_resource('../../etc/passwd')\n")


def test_a_snapshot_script_answers_with_its_artifact(run: Run) -> None:
    source = "from cloudify import ctx\nctx.returns({'objects': ['dump-1']})\n"
    outcome = run("dump.py", source, call={"operation": Operation.SNAPSHOT})
    assert outcome.artifact == {"objects": ["dump-1"]}


def test_a_statistics_script_answers_with_figures(run: Run) -> None:
    source = "from cloudify import ctx\nctx.returns({'cpu_percent': 12.5})\n"
    outcome = run("measure.py", source, call={"operation": Operation.MEASURE})
    assert outcome.measurements == {"cpu_percent": 12.5}


def test_helpers_of_the_cloudify_module_are_there(run: Run) -> None:
    outcome = run(
        "helpers.py",
        "from cloudify import ctx\nfrom cloudify.decorators import operation\n"
        "from cloudify.utils import LocalCommandRunner, create_temp_folder, id_generator\n"
        "from cloudify.manager import get_rest_client\nimport os\n"
        "@operation\ndef work(**_):\n    return LocalCommandRunner().run('echo a b').std_out\n"
        "assert os.path.isdir(create_temp_folder()) and len(id_generator(4)) == 4\n"
        "ctx.returns(work())\n",
    )
    assert outcome.result == "a b"


def test_a_script_source_needs_no_file(
    run: Run, provider: Any, context: RecordingContext, tmp_path: Path
) -> None:
    from .conftest import a_call

    source = "\n    from cloudify import ctx\n    ctx.returns(ctx.node.id)\n"
    assert provider.perform(a_call(tmp_path, inputs={"script_source": source}), context).result == "server"
