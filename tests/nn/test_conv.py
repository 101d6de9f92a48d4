from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import nn

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 8, 4)), jnp.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": "SAME"},
        {"padding": ((1, 2), (0, 1)), "dilation": 2},
        {"groups": 2, "bias": False},
        {"groups": 4, "stride": (1, 2), "padding": "SAME"},
    ],
)
def test_equals_flax_with_its_parameters(settings, standard_promotion):
    names = {
        "stride": "strides",
        "dilation": "kernel_dilation",
        "groups": "feature_group_count",
        "bias": "use_bias",
    }
    reference = linen.Conv(
        8, (3, 2), **({"padding": "VALID"} | {names.get(k, k): v for k, v in settings.items()})
    )
    theirs = jax.eval_shape(reference.init, jax.random.key(0), X)["params"]
    layer = nn.conv(4, 8, (3, 2), bias_init=nn.init.normal(1.0), **settings)
    params, state = layer.init(jax.random.key(1))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, theirs)
    y, state = layer.apply(params, state, X)
    assert state == ()
    np.testing.assert_allclose(y, reference.apply({"params": params}, X), rtol=1e-5, atol=1e-5)


def test_is_a_linear_layer_where_the_kernel_covers_everything():
    layer, dense = nn.conv(4, 3, (7, 8)), nn.linear(7 * 8 * 4, 3)
    params, state = layer.init(jax.random.key(2))
    flat = {"kernel": params["kernel"].reshape(-1, 3), "bias": params["bias"]}
    np.testing.assert_allclose(
        layer.apply(params, state, X)[0][:, 0, 0],
        dense.apply(flat, (), X.reshape(2, -1))[0],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((0, 3, 3), {}, "conv needs in_channels ≥ 1, got in_channels=0"),
        ((3, -3, 3), {}, "conv needs out_channels ≥ 1, got out_channels=-3"),
        ((3, 3, 0), {}, "conv: kernel_size is 0, but a positive integer"),
        ((3, 3, (3, 3, 3)), {}, r"kernel_size is \(3, 3, 3\)"),
        ((3, 4, 3), {"groups": 2}, "channels that groups divides, got in_channels=3"),
        ((4, 3, 3), {"groups": 2}, "channels that groups divides"),
    ],
)
def test_refuses_sizes(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        nn.conv(*arguments, **settings)


def test_refuses_another_input():
    layer = nn.conv(3, 2, 3)
    params, state = layer.init(jax.random.key(3))
    with pytest.raises(ValueError, match=r"expected \[B, H, W, 3\], got float32\[2, 7, 8, 4\]"):
        layer.apply(params, state, X)
