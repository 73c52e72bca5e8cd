"""The shop's web process: takes orders, each with a picture, and answers when they are safe.

Usage: web.py UPLOADS PID_FILE PORT POSTGRESQL REDIS (the directory of one's socket, the path of the other's)
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import redis

UPLOADS, PID_FILE, PORT, POSTGRESQL, REDIS = sys.argv[1:]


class Orders(BaseHTTPRequestHandler):
    """POST /orders takes one and answers its number; GET / says how many there are."""

    protocol_version = "HTTP/1.1"
    own = threading.local()

    def do_POST(self) -> None:
        picture = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(lambda: self.take(picture))

    def do_GET(self) -> None:
        self.answer(lambda: self.database().execute("SELECT count(*) FROM orders").fetchone()[0])

    def take(self, picture: bytes) -> int:
        """Keep the picture first, then what customers see, then the order: what is sold can be shown."""
        number = self.database().execute("SELECT nextval('order_numbers')").fetchone()[0]
        (Path(UPLOADS) / f"{number}.jpg").write_bytes(picture)
        self.sessions().set(f"order:{number}", "new")
        self.database().execute("INSERT INTO orders VALUES (%s)", (number,))
        return number

    def answer(self, ask) -> None:
        try:
            status, body = 200, ask()
        except (OSError, psycopg.Error, redis.RedisError) as error:
            status, body = 503, str(error)
            vars(self.own).clear()  # connected anew by the next request
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def database(self) -> psycopg.Connection:
        if not hasattr(self.own, "database"):
            login = {"host": POSTGRESQL, "user": "postgres", "dbname": "postgres"}
            self.own.database = psycopg.connect(**login, autocommit=True)
        return self.own.database

    def sessions(self) -> redis.Redis:
        if not hasattr(self.own, "sessions"):
            self.own.sessions = redis.Redis(unix_socket_path=REDIS)
        return self.own.sessions

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


server = ThreadingHTTPServer(("127.0.0.1", int(PORT)), Orders)
new = Path(PID_FILE + ".new")
new.write_text(str(os.getpid()))
new.rename(PID_FILE)
server.serve_forever()
