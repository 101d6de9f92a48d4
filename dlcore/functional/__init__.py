"""Arrays in, arrays out: activations, losses, metrics and what layers compute. No state."""

from dlcore.functional.activations import (
    elu,
    gelu,
    identity,
    leaky_relu,
    log_softmax,
    prelu,
    rbf_gaussian,
    rbf_squared_distance,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    step,
    tanh,
)
from dlcore.functional.attention import attention
from dlcore.functional.conv import conv, conv_transpose, locally_connected
from dlcore.functional.dropout import dropconnect, dropout
from dlcore.functional.linear import linear
from dlcore.functional.local_response_norm import local_response_norm
from dlcore.functional.losses import (
    absolute_error,
    binary_cross_entropy,
    binary_cross_entropy_probabilities,
    cross_entropy,
    cross_entropy_probabilities,
    hinge,
    huber,
    multiclass_hinge,
    negative_log_likelihood,
    squared_error,
)
from dlcore.functional.metrics import (
    accuracy,
    confusion_matrix,
    correct,
    f1,
    perplexity,
    precision,
    recall,
    top_k_accuracy,
    top_k_correct,
)
from dlcore.functional.normalization import batch_moments, moments, normalize, rms_norm
from dlcore.functional.padding import pad
from dlcore.functional.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    max_pool,
)
from dlcore.names import api

__all__ = [
    "absolute_error",
    "accuracy",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "attention",
    "avg_pool",
    "batch_moments",
    "binary_cross_entropy",
    "binary_cross_entropy_probabilities",
    "confusion_matrix",
    "conv",
    "conv_transpose",
    "correct",
    "cross_entropy",
    "cross_entropy_probabilities",
    "dropconnect",
    "dropout",
    "elu",
    "f1",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "hinge",
    "huber",
    "identity",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "locally_connected",
    "log_softmax",
    "max_pool",
    "moments",
    "multiclass_hinge",
    "negative_log_likelihood",
    "normalize",
    "pad",
    "perplexity",
    "precision",
    "prelu",
    "rbf_gaussian",
    "rbf_squared_distance",
    "recall",
    "relu",
    "rms_norm",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "squared_error",
    "step",
    "tanh",
    "top_k_accuracy",
    "top_k_correct",
]

__getattr__, __dir__ = api(
    __name__,
    __all__,
    moved={
        "backprop": "dlcore.derivatives.backprop",
        "finite_differences": "dlcore.derivatives.finite_differences",
        "landscapes": "dlcore.optim.landscapes",
    },
    foreign={
        "mse_loss": "functional.squared_error",
        "l1_loss": "functional.absolute_error",
        "nll_loss": "functional.negative_log_likelihood",
        "smooth_l1_loss": "functional.huber",
        "swish": "functional.silu",
        "binary_cross_entropy_with_logits": "functional.binary_cross_entropy",
        "softmax_cross_entropy_with_integer_labels": "functional.cross_entropy",
    },
)
