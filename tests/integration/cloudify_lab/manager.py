"""Stands in for a manager: the REST calls that cloudify-common makes, its broker and the workers behind it.

Run in the lab's Python: ``manager.py BLUEPRINT PORT_FILE``. What it keeps is Cloudify's own storage; what
runs operations is Cloudify's own dispatcher, in a process for each, as workers and agents do. So an operation
goes on when the process of its workflow dies.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from cloudify.workflows import local

DEPLOYMENT = "examples"
BLUEPRINT = Path(sys.argv[1])
#: how long a worker that waits for an answer is kept, in seconds
PATIENCE_S = 1.0


class Manager:
    """State of a manager with one deployment."""

    def __init__(self):
        self.environment = local.init_env(str(BLUEPRINT), name=DEPLOYMENT, storage=local.InMemoryStorage())
        self.storage = self.environment.storage
        self.lock = threading.Lock()
        self.executions = {}
        self.queues = defaultdict(queue.Queue)
        self.events = []
        self.tokens_refused = set()
        self.port = 0
        for instance in self.storage.get_node_instances():
            node = self.storage.get_node(instance["node_id"])
            if "cloudify.nodes.Compute" in node["type_hierarchy"]:
                agent = {"queue": f"agent-{instance['id']}", "name": f"agent-{instance['id']}"}
                properties = {"cloudify_agent": {**agent, "rest_host": ["127.0.0.1"]}}
                self.storage.update_node_instance(
                    instance["id"], version=instance["version"], runtime_properties=properties
                )

    def nodes(self, query):
        evaluated = query.get("_evaluate_functions") == "True"
        found = [dict(each) for each in self.storage.get_nodes()]
        if "id" in query:
            found = [each for each in found if each["id"] == query["id"]]
        for each in found if evaluated else ():
            context = {"self": query["_instance_context"]} if "_instance_context" in query else {}
            each["properties"] = self.environment.evaluate_functions(each["properties"], context)
        return found

    def publish(self, message):
        """Give what the workflow sends to a worker or an agent."""
        threading.Thread(target=self.perform, args=(message,), daemon=True).start()

    def perform(self, message):
        """Run one operation by Cloudify's dispatcher, and answer as a worker does."""
        body = json.loads(message["body"])
        kwargs = body["cloudify_task"]["kwargs"]
        context = kwargs.pop("__cloudify_context")
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "input.json").write_text(
                json.dumps({"cloudify_context": context, "args": [], "kwargs": kwargs})
            )
            command = [sys.executable, "-m", "cloudify.dispatch", directory]
            where = {
                "LAB_EXECUTOR": str(context.get("executor")),
                "LAB_TARGET": str(context.get("task_target")),
            }
            process = subprocess.Popen(
                command, env={**os.environ, **worker_environment(self.port), **where},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            answer = {"ok": False, "error": {"exception_type": "NonRecoverableError", "message": "timed out"}}
            try:
                process.wait(timeout=context.get("timeout"))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            else:
                told = json.loads(Path(directory, "output.json").read_text())
                ok = told["type"] == "result"
                answer = {"ok": ok, ("result" if ok else "error"): told["payload"]}
                if ok:
                    answer["error"] = None
        self.queues[message["reply_to"]].put(
            {"body": json.dumps(answer), "correlation_id": message["correlation_id"]}
        )


def worker_environment(port):
    """Return what a worker or an agent tells the processes that it starts."""
    return {
        "REST_PROTOCOL": "http",
        "REST_HOST": "127.0.0.1",
        "REST_PORT": str(port),
        "LOCAL_REST_CERT_FILE": str(BLUEPRINT),
        "LAB_MANAGER": str(port),
    }


class Answers(BaseHTTPRequestHandler):
    """The REST service, and what the stand-in of the broker's client asks."""

    protocol_version = "HTTP/1.1"
    manager = None

    def log_message(self, *arguments):
        """Print nothing."""

    def answer(self, content, status=200):
        body = content if isinstance(content, bytes) else json.dumps(content, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def refuse(self, status, code, message):
        self.answer({"message": message, "error_code": code, "server_traceback": ""}, status)

    def handle_any(self):
        url = urlparse(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        data = json.loads(self.rfile.read(length) or b"null") if length else None
        parts = url.path.strip("/").split("/")
        token = self.headers.get("Execution-Token")
        if token in self.manager.tokens_refused and parts[:1] == ["api"]:
            return self.refuse(401, "unauthorized_error", "the execution is over")
        if parts[:1] == ["resources"]:
            return self.resource(parts)
        if parts[:1] == ["broker"]:
            return self.broker(parts[1:], query, data)
        name = "_".join([self.command.lower(), *parts[2:3]]).replace("-", "_")
        method = getattr(self, name, None)
        if method is None:
            return self.refuse(404, "not_found_error", f"no stand-in for {self.command} {self.path}")
        return method(parts[3:], query, data)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815  the base class's names

    def listed(self, items):
        pagination = {"total": len(items), "size": 1000, "offset": 0}
        self.answer({"items": items, "metadata": {"pagination": pagination}})

    def resource(self, parts):
        path = BLUEPRINT.parent / Path(*parts[4:])
        if parts[1] == "blueprints" and path.is_file():
            return self.answer(path.read_bytes())
        return self.refuse(404, "not_found_error", "no such resource")

    # -- the broker ---------------------------------------------------------------------------------------

    def broker(self, parts, query, data):
        if parts == ["publish"]:
            self.manager.publish(data)
            return self.answer({})
        try:
            return self.answer(self.manager.queues[query["queue"]].get(timeout=PATIENCE_S))
        except queue.Empty:
            return self.answer(None)

    # -- the REST service ---------------------------------------------------------------------------------

    def get_nodes(self, _, query, __):
        self.listed(self.manager.nodes(query))

    def get_node_instances(self, parts, query, _):
        if parts:
            return self.answer(dict(self.manager.storage.get_node_instance(parts[0])))
        found = [dict(each) for each in self.manager.storage.get_node_instances()]
        if "node_id" in query:
            found = [each for each in found if each["node_id"] == query["node_id"]]
        return self.listed(found)

    def patch_node_instances(self, parts, _, data):
        with self.manager.lock:
            there = self.manager.storage.get_node_instance(parts[0])
            if data["version"] != there["version"]:
                return self.refuse(409, "conflict_error", "the version is another")
            self.manager.storage.update_node_instance(
                parts[0], version=data["version"], runtime_properties=data.get("runtime_properties"),
                state=data.get("state"),
            )  # fmt: skip
        return self.get_node_instances(parts, {}, None)

    def get_executions(self, parts, _, __):
        self.answer({"id": parts[0], "status": self.manager.executions.get(parts[0], "pending")})

    def patch_executions(self, parts, _, data):
        there = self.manager.executions.get(parts[0])
        if data["status"] == "started" and there in ("cancelling", "force_cancelling", "kill_cancelling"):
            return self.refuse(400, "invalid_execution_update_status", f"it is {there}")
        self.manager.executions[parts[0]] = data["status"]
        return self.get_executions(parts, {}, None)

    def post_executions(self, parts, _, data):
        """Ask for a cancel of some kind; *kill* and *force* end the execution's token as well."""
        self.manager.executions[parts[0]] = data["status"]
        if data.get("refuse_token"):
            self.manager.tokens_refused.add(f"token-{parts[0]}")
        self.answer({})

    def get_deployments(self, parts, _, __):
        self.answer({"id": parts[0], "blueprint_id": DEPLOYMENT, "runtime_only_evaluation": False,
                     "scaling_groups": {}})  # fmt: skip

    def get_blueprints(self, parts, _, __):
        plan = json.loads(json.dumps(self.manager.environment.plan, default=str))
        self.answer({"id": parts[0], "plan": plan, "visibility": "tenant", "tenant_name": "default_tenant"})

    def get_plugins(self, *_):
        self.listed([])

    def get_tenants(self, parts, _, __):
        self.answer({"name": parts[0], "rabbitmq_vhost": "vhost", "rabbitmq_username": "u",
                     "rabbitmq_password": "p"})  # fmt: skip

    def get_provider(self, *_):
        self.answer({"name": "provider", "context": {"cloudify": {"cloudify_agent": {}}}})

    def get_config(self, *_):
        self.listed([])

    def get_secrets(self, parts, _, __):
        self.refuse(404, "not_found_error", f"there is no secret {parts[0]}")

    def post_evaluate(self, _, __, data):
        payload = self.manager.environment.evaluate_functions(data["payload"], data["context"])
        self.answer({"deployment_id": data["deployment_id"], "payload": payload})

    def post_events(self, _, __, data):
        self.manager.events += [
            each["message"]["text"] for each in data.get("events") or data.get("logs") or ()
        ]
        self.answer({}, 201)

    def get_events(self, *_):
        self.answer(self.manager.events)

    def patch_operations(self, *_):
        self.answer({})


def main():
    Answers.manager = Manager()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    Answers.manager.port = server.server_address[1]
    Path(f"{sys.argv[2]}.new").write_text(str(Answers.manager.port))
    Path(f"{sys.argv[2]}.new").replace(sys.argv[2])
    server.serve_forever()


main()
