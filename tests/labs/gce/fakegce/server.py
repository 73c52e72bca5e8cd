"""The stand-in as an HTTP server on the loopback address."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fakegce.cloud import Cloud, LostError
from fakegce.faults import Fault
from fakegce.spec import ApiError


class Server(ThreadingHTTPServer):
    """Answers for one `Cloud`."""

    daemon_threads = True
    request_queue_size = 256
    cloud: Cloud

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are none of our business."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize, disable_nagle_algorithm = -1, True  # one packet for each answer
    server: Server

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/_lab/faults":
            self.server.cloud.faults.append(Fault(**json.loads(raw)))
            return self.send(200, {})
        cloud, method = self.server.cloud, None
        try:
            method, body = cloud.handle(self.command, self.path, raw)
            status = 200
        except ApiError as error:
            status, body = error.status, error.body()
        except LostError as lost:
            cloud.log.append((self.command, self.path, str(lost), 0))
            self.close_connection = True
            return self.connection.close()
        cloud.log.append((self.command, self.path, method, status))
        return self.send(status, body)

    def send(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = answer  # noqa: N815


def serve(port: int = 0, **options: Any) -> tuple[Server, Cloud, str]:
    """Start in a thread; returns server, cloud and the URL for ``api_endpoint``."""
    server = Server(("127.0.0.1", port), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    server.cloud = Cloud(root=url, **options)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server, server.cloud, url
