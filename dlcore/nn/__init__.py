"""Layers: pairs of pure functions, the combinators that join them, and their initializers.

Activations without parameters are plain functions, and layers as they are: `functional.relu`.
"""

from dlcore.functional.pooling import global_avg_pool, global_max_pool
from dlcore.names import api
from dlcore.nn import init
from dlcore.nn.activation import prelu, rbf
from dlcore.nn.additive_attention import additive_attention
from dlcore.nn.attention import attention
from dlcore.nn.combinators import branch, concat, repeat, residual, serial, wire
from dlcore.nn.conv import conv, conv_transpose, depthwise, locally_connected
from dlcore.nn.crf import crf
from dlcore.nn.dropout import (
    dropconnect,
    dropout,
    gaussian_noise,
    spatial_dropout,
    stochastic_depth,
)
from dlcore.nn.embedding import Rows, embedding
from dlcore.nn.layer import Layer, as_layer, from_function, make, named
from dlcore.nn.linear import layer_scale, linear
from dlcore.nn.local_response_norm import local_response_norm
from dlcore.nn.lsuv import lsuv
from dlcore.nn.norm import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
    standardize,
)
from dlcore.nn.observing import Call, intermediates, observed, scan
from dlcore.nn.pooling import adaptive_avg_pool, adaptive_max_pool, avg_pool, max_pool
from dlcore.nn.position import position, sinusoidal
from dlcore.nn.recurrent import gru, gru_cell, lstm, lstm_cell, recurrent, rnn, rnn_cell
from dlcore.nn.remembering import joined, memory, parted
from dlcore.nn.shape import flatten, unflatten
from dlcore.nn.squeeze_excitation import squeeze_excitation
from dlcore.nn.summary import Summary, summary
from dlcore.nn.surgery import freeze, frozen, graft, part, replace, split, thaw

__all__ = [
    "Call",
    "Layer",
    "Rows",
    "Summary",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "additive_attention",
    "as_layer",
    "attention",
    "avg_pool",
    "batch_norm",
    "branch",
    "concat",
    "conv",
    "conv_transpose",
    "crf",
    "depthwise",
    "dropconnect",
    "dropout",
    "embedding",
    "flatten",
    "freeze",
    "from_function",
    "frozen",
    "gaussian_noise",
    "global_avg_pool",
    "global_max_pool",
    "graft",
    "group_norm",
    "gru",
    "gru_cell",
    "init",
    "instance_norm",
    "intermediates",
    "joined",
    "layer_norm",
    "layer_scale",
    "linear",
    "local_response_norm",
    "locally_connected",
    "lstm",
    "lstm_cell",
    "lsuv",
    "make",
    "max_pool",
    "memory",
    "named",
    "observed",
    "part",
    "parted",
    "position",
    "prelu",
    "rbf",
    "recurrent",
    "repeat",
    "replace",
    "residual",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "scan",
    "serial",
    "sinusoidal",
    "spatial_dropout",
    "split",
    "squeeze_excitation",
    "standardize",
    "stochastic_depth",
    "summary",
    "thaw",
    "unflatten",
    "wire",
]

_ACTIVATIONS = (
    "relu",
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "softmax",
    "elu",
    "leaky_relu",
    "softplus",
)

__getattr__, __dir__ = api(
    __name__,
    __all__,
    foreign={
        **{name: f"functional.{name}, which is a layer as it is" for name in _ACTIVATIONS},
        "Sequential": "serial",
        "chain": "serial",
        "Dense": "linear",
        "Module": "Layer",
        "Parallel": "branch",
        "Lambda": "from_function",
        "CrossEntropyLoss": "functional.cross_entropy",
        "MSELoss": "functional.squared_error",
        "BCEWithLogitsLoss": "functional.binary_cross_entropy",
        "MultiheadAttention": "attention",
        "ConvTranspose2d": "conv_transpose",
        "AlphaDropout": "dropout",
    },
)
