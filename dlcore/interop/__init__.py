"""Weights and networks in and out of dlcore."""

from __future__ import annotations

from dlcore.interop import torch_names, weights
from dlcore.interop.flax_modules import from_flax, to_flax, to_nnx
from dlcore.interop.stablehlo import export, from_stablehlo
from dlcore.interop.torch_weights import from_torch, to_torch
from dlcore.names import api

__all__ = [
    "export",
    "from_flax",
    "from_stablehlo",
    "from_torch",
    "to_flax",
    "to_nnx",
    "to_torch",
    "torch_names",
    "weights",
]

__getattr__, __dir__ = api(__name__, __all__)
