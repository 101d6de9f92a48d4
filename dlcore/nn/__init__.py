"""Layers: pairs of pure functions, the combinators that join them, and their initializers.

Activations without parameters are plain functions, and layers as they are: `functional.relu`.
"""

from dlcore.functional.pooling import global_avg_pool, global_max_pool
from dlcore.nn import init
from dlcore.nn.activation import prelu, rbf
from dlcore.nn.combinators import branch, concat, repeat, residual, serial, wire
from dlcore.nn.conv import conv
from dlcore.nn.dropout import dropout
from dlcore.nn.layer import Layer, as_layer, from_function, intermediates, make, named
from dlcore.nn.linear import linear
from dlcore.nn.norm import batch_norm, standardize
from dlcore.nn.pooling import avg_pool, max_pool
from dlcore.nn.shape import flatten
from dlcore.nn.summary import Summary, summary

__all__ = [
    "Layer",
    "Summary",
    "as_layer",
    "avg_pool",
    "batch_norm",
    "branch",
    "concat",
    "conv",
    "dropout",
    "flatten",
    "from_function",
    "global_avg_pool",
    "global_max_pool",
    "init",
    "intermediates",
    "linear",
    "make",
    "max_pool",
    "named",
    "prelu",
    "rbf",
    "repeat",
    "residual",
    "serial",
    "standardize",
    "summary",
    "wire",
]
