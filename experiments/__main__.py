"""`python -m experiments`: see `experiments.command`."""

import os
import sys
import warnings

from experiments.command import main

warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
try:
    status = main(sys.argv[1:])
    sys.stdout.flush()
except BrokenPipeError:  # what reads the output, such as `head`, has read enough
    for stream in (sys.stdout, sys.stderr):  # which Python flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    status = 141  # as a shell reports SIGPIPE
sys.exit(status)
