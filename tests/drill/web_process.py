"""The web process of the drill: takes uploads, and answers that it is there. Run as a program."""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main(uploads: Path, pid_file: Path, port: int) -> None:
    """Serve until the end; an upload is acknowledged when it is on the disk."""

    class Uploads(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200 if uploads.is_dir() else 500)

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            name = Path(self.path).name
            new = uploads / f".{name}.new"
            with new.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.rename(uploads / name)
            directory = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(directory)
            os.close(directory)
            self._answer(201)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    os.chdir(uploads)  # a restore must not leave it behind in the former directory
    server = ThreadingHTTPServer(("127.0.0.1", port), Uploads)
    server.daemon_threads = True
    new = pid_file.with_suffix(".new")
    new.write_text(str(os.getpid()))
    new.rename(pid_file)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
