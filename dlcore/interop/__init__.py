"""Weights and networks in and out of dlcore."""

from __future__ import annotations

from dlcore.interop import torch_names as torch_names
from dlcore.interop import weights as weights
from dlcore.interop.flax_modules import from_flax as from_flax
from dlcore.interop.flax_modules import to_flax as to_flax
from dlcore.interop.flax_modules import to_nnx as to_nnx
from dlcore.interop.stablehlo import export as export
from dlcore.interop.torch_weights import from_torch as from_torch
from dlcore.interop.torch_weights import to_torch as to_torch
