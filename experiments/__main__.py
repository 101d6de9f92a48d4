"""`python -m experiments`: see `experiments.command`."""

import io
import os
import sys
import warnings
from typing import Any

from experiments.command import main

warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
was_closed = sys.stdout is None
for number in range(3):  # the number of a closed stream must not go to a file of ours
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)
sys.stdout = sys.stdout or io.TextIOWrapper(io.FileIO(1, "w"))
sys.stderr = sys.stderr or io.TextIOWrapper(io.FileIO(2, "w"))
streams: list[Any] = [sys.stdout, sys.stderr]
for stream in streams:
    stream.reconfigure(errors="replace")
status = main(sys.argv[1:])
for stream in streams:
    try:
        stream.flush()
    except OSError:  # nobody reads it, and Python would try once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
sys.exit(141 if was_closed and status in (0, 1) else status)
