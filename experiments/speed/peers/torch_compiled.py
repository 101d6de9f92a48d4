"""PyTorch, with torch.compile for the network and its loss; all else as in `torch_eager`."""

from __future__ import annotations

import functools

from experiments.speed.peers import torch_eager
from experiments.speed.peers.torch_eager import MODELS as MODELS
from experiments.speed.peers.torch_eager import ready as ready

start = functools.partial(torch_eager.start, is_compiled=True)
