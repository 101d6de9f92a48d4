"""`python -m experiments`: see `experiments.command`."""

import sys
import warnings

from experiments.command import main

warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
sys.exit(main(sys.argv[1:]))
