"""Calls as other libraries have them: refused in one line, whose own call makes the same layer."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import functional, nn


def answer(call):
    """What a call is told, in one line."""
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


IMAGE, VECTOR = (2, 8, 8, 4), (2, 4)  # channels last; PyTorch's are first

# A factory here, a module there, and what both are called with.
CALLS = [
    (nn.linear, "Linear", VECTOR, (4, 3, False), {}),
    (nn.linear, "Linear", VECTOR, (4, 3), {"device": None}),
    (nn.conv, "Conv2d", IMAGE, (4, 6, 5, 2, 1), {}),
    (nn.conv, "Conv2d", IMAGE, (4, 6, 3), {"padding": 2, "device": None, "bias": False}),
    (nn.conv_transpose, "ConvTranspose2d", IMAGE, (4, 6, 2, 2), {}),
    (nn.max_pool, "MaxPool2d", IMAGE, (3, 2, 1), {}),
    (nn.max_pool, "MaxPool2d", IMAGE, (), {"kernel_size": 2}),
    (nn.avg_pool, "AvgPool2d", IMAGE, (), {"kernel_size": 3, "stride": 2}),
    (nn.adaptive_avg_pool, "AdaptiveAvgPool2d", IMAGE, (), {"output_size": 2}),
    (nn.batch_norm, "BatchNorm2d", IMAGE, (), {"num_features": 4}),
    (nn.batch_norm, "BatchNorm2d", IMAGE, (4, 1e-3), {}),
    (nn.batch_norm, "BatchNorm2d", IMAGE, (4,), {"affine": False}),
    (nn.group_norm, "GroupNorm", IMAGE, (), {"num_groups": 2, "num_channels": 4}),
    (nn.layer_norm, "LayerNorm", VECTOR, (), {"normalized_shape": 4}),
    (nn.layer_norm, "LayerNorm", VECTOR, (4,), {"elementwise_affine": False}),
    (nn.layer_norm, "LayerNorm", VECTOR, (4,), {"bias": False}),
    (nn.dropout, "Dropout", VECTOR, (), {"p": 0.5}),
    (nn.dropout, "Dropout", VECTOR, (0.5, True), {}),
    (nn.prelu, "PReLU", IMAGE, (), {"num_parameters": 4}),
]


@pytest.mark.parametrize(
    ("factory", "name", "shape", "args", "kwargs"), CALLS, ids=lambda one: str(one)[:20]
)
def test_the_corrected_call_makes_torchs_layer(factory, name, shape, args, kwargs, torch):
    told = answer(lambda: factory(*args, **kwargs)).partition(": write ")[2]
    layer = eval(told, {"nn": nn})
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    y, _ = jax.eval_shape(layer.apply, params, state, np.zeros(shape, np.float32))
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    ours = sorted(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    assert ours == sorted(weight.numel() for weight in theirs.parameters())
    x = np.moveaxis(np.zeros(shape, np.float32), -1, 1)
    assert y.shape == tuple(np.moveaxis(theirs(torch.tensor(x)).detach().numpy(), 1, -1).shape)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: nn.linear(10), "linear needs out_features: write nn.linear(10, out_features=…)"),
        (
            lambda: nn.linear(units=10, use_bias=False),
            "linear has no units and use_bias: write nn.linear(in_features=…, out_features=10, "
            "bias=False)",
        ),
        (
            lambda: nn.linear(3, features=10, activation="relu", name="head"),
            "linear has no name and activation and features: write nn.serial(nn.named('head', "
            "nn.linear(3, out_features=10)), functional.relu)",
        ),
        (
            lambda: nn.linear(3, 10, activation=functional.relu),
            "linear has no activation: write nn.serial(nn.linear(3, 10), functional.relu)",
        ),
        (
            lambda: nn.linear(np.ones((2, 3), np.float32), 10),
            "linear is given float32[2, 3] as in_features: write nn.linear(10, out_features=…); "
            "layer.apply(params, state, x) takes the arrays",
        ),
        (
            lambda: nn.max_pool(np.ones((1, 4, 4, 1), np.float32), 2),
            "max_pool is given float32[1, 4, 4, 1] as window: write nn.max_pool(2); layer.apply(",
        ),
        (
            lambda: nn.dropout(np.ones(3, np.float32), 0.5),
            "dropout is given float32[3] as rate: write nn.dropout(0.5); layer.apply(",
        ),
        (
            lambda: nn.conv(1, filters=6, kernel_size=5, strides=2, padding="SAME"),
            "conv has no filters and strides: write nn.conv(1, out_channels=6, kernel_size=5, "
            "stride=2, padding='SAME')",
        ),
        (
            lambda: nn.conv(1, 6, 5, padding="same"),
            "conv: padding is 'same': write padding=\"SAME\"",
        ),
        (lambda: nn.max_pool(2, padding="Valid"), "is 'Valid': write padding=\"VALID\""),
        (lambda: nn.conv(1, 6, 5, padding_mode="circular"), "['zeros', 'reflect', 'edge', 'wrap']"),
        (
            lambda: nn.freeze(nn.linear(3, 4), "kernel", "bias"),
            "freeze takes 2 by position, got 3: write nn.freeze(layer, mask=('kernel', 'bias'))",
        ),
        (lambda: nn.freeze(nn.linear(3, 4)), "freeze needs mask: write nn.freeze(layer, mask=…)"),
        (
            lambda: nn.standardize(np.ones(3), np.zeros(3)),
            "standardize: std is [0. 0. 0.], but std",
        ),
        (lambda: nn.dropout("0.5"), "takes a number as rate, got '0.5': write nn.dropout(0.5)"),
        (
            lambda: nn.linear("four", units=3),
            "got 'four': write nn.linear(…, out_features=3)",
        ),
        (lambda: nn.batch_norm(64, 1e-3), "got 2: write nn.batch_norm(64, eps=0.001)"),
        (lambda: nn.batch_norm(64, decay=0.9), "write nn.batch_norm(64, momentum=0.9)"),
        (lambda: nn.batch_norm(64, epsilon=0.1), "write nn.batch_norm(64, eps=0.1)"),
    ],
)
def test_is_told_in_one_line(call, told):
    assert told in answer(call)
