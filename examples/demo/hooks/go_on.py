"""fs_finalize of the worker: let it go on. Fine when it is not paused, or does not run at all."""

import os
import socket

with socket.socket(socket.AF_UNIX) as control:
    try:
        control.connect(os.environ["CONTROL"])
    except (FileNotFoundError, ConnectionRefusedError):
        pass
    else:
        control.sendall(b"go on\n")
        if control.recv(64) != b"running\n":
            raise RuntimeError("the worker does not go on")
