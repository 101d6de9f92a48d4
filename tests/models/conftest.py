"""The reference networks are made of torch's layers: without torch there is nothing to look at."""

from __future__ import annotations

import importlib.util

REFERENCES = ["parity.py", "torch_classic.py", "torch_residual.py"]
collect_ignore = [] if importlib.util.find_spec("torch") else REFERENCES
