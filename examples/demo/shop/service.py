"""The shop's front: takes orders over HTTP and answers when they are safe in the database."""

import json
import os
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import database

ROOT = Path(sys.argv[1])


class Orders(BaseHTTPRequestHandler):
    """POST /orders takes one; GET /orders says how many there are."""

    protocol_version = "HTTP/1.1"
    connections = threading.local()

    def do_POST(self) -> None:
        token = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer(lambda shop: shop.execute("INSERT INTO orders (token) VALUES (?)", (token,)).lastrowid)

    def do_GET(self) -> None:
        self.answer(lambda shop: shop.execute("SELECT count(*) FROM orders").fetchone()[0])

    def answer(self, ask) -> None:
        try:
            status, body = 200, ask(self.database())
        except sqlite3.Error as error:
            status, body = 500, str(error)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def database(self) -> sqlite3.Connection:
        if not hasattr(self.connections, "own"):
            self.connections.own = database.connect(ROOT)
        return self.connections.own

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


database.create(ROOT)
server = ThreadingHTTPServer(("127.0.0.1", 0), Orders)
(ROOT / "run" / "web.port").write_text(str(server.server_port))
(ROOT / "run" / "web.pid").write_text(str(os.getpid()))
server.serve_forever()
