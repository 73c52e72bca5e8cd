"""Run the stand-in by itself: ``python -m fakegce --port 8410 --op-seconds 0.2``."""

from __future__ import annotations

import argparse
import threading

from fakegce.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8410)
    parser.add_argument("--op-seconds", type=float, default=0.2)
    parser.add_argument("--upload-seconds", type=float)
    given = parser.parse_args()
    _, _, url = serve(given.port, op_seconds=given.op_seconds, upload_seconds=given.upload_seconds)
    print(url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
