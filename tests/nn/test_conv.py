from __future__ import annotations

import functools

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


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_padding_mode_is_padding_first(mode):
    settings = {"stride": 2, "padding": (2, 1), "dilation": 2, "padding_mode": mode}
    layer = nn.conv(4, 3, 3, **settings)
    params, state = layer.init(jax.random.key(4))
    padded = np.pad(X, [(0, 0), (2, 2), (1, 1), (0, 0)], mode=mode)
    plain = nn.conv(4, 3, 3, stride=2, dilation=2)
    np.testing.assert_allclose(
        layer.apply(params, state, X)[0], plain.apply(params, state, padded)[0], rtol=1e-5
    )


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_depthwise_convolves_each_channel_alone(mode):
    window = {"stride": 2, "padding": "SAME", "padding_mode": mode}
    layer = nn.depthwise(4, 3, multiplier=2, **window)
    params, state = layer.init(jax.random.key(5))
    assert jax.tree.map(jnp.shape, params) == {"kernel": (3, 3, 1, 8), "bias": (8,)}
    y, _ = layer.apply(params, state, X)
    alone = nn.conv(1, 2, 3, **window, bias=False)
    for c in range(4):
        own = slice(2 * c, 2 * c + 2)
        part, _ = alone.apply({"kernel": params["kernel"][..., own]}, (), X[..., c : c + 1])
        np.testing.assert_allclose(y[..., own], part + params["bias"][own], rtol=1e-4, atol=1e-5)


def test_conv_transpose_equals_torch_by_the_axes_of_its_conv():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layer = nn.conv_transpose(4, 3, 4, stride=2, padding=1, bias_init=nn.init.normal(1.0))
    params, state = layer.init(jax.random.key(6))
    reference = torch.nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)
    reference.weight.data = torch.tensor(np.transpose(params["kernel"], (3, 2, 0, 1)))
    reference.bias.data = torch.tensor(np.array(params["bias"]))
    expected = reference(torch.tensor(np.transpose(X, (0, 3, 1, 2)))).detach().numpy()
    y, _ = layer.apply(params, state, X)
    assert y.shape == (2, 14, 16, 3)
    np.testing.assert_allclose(y, np.transpose(expected, (0, 2, 3, 1)), rtol=1e-4, atol=1e-5)


def test_conv_transpose_is_drawn_by_the_fans_of_its_own_direction():
    params, _ = nn.conv_transpose(400, 20, 2).init(jax.random.key(7))
    assert params["kernel"].shape == (2, 2, 20, 400)
    np.testing.assert_allclose(np.std(params["kernel"]), (2 * 2 * 400) ** -0.5, rtol=0.02)


def test_locally_connected_has_a_kernel_and_a_bias_for_each_place():
    """LeNet-5's first layer without sharing: 28·28·6 units with 5·5 + 1 weights each."""
    layer = nn.locally_connected(1, 6, 5, size=(32, 32))
    assert nn.summary(layer, (1, 32, 32, 1)).parameters == 28 * 28 * 6 * 26
    layer = nn.locally_connected(4, 3, (3, 2), size=(7, 8), stride=2, padding=(1, 0))
    params, state = layer.init(jax.random.key(8))
    shapes = {"kernel": (4, 4, 3, 2, 4, 3), "bias": (4, 4, 3)}
    assert jax.tree.map(jnp.shape, params) == shapes
    shared = nn.conv(4, 3, (3, 2), stride=2, padding=(1, 0))
    one = jax.tree.map(lambda leaf: leaf[1, 2] + 1, params)
    copies = jax.tree.map(lambda leaf, shape: jnp.broadcast_to(leaf, shape), one, shapes)
    np.testing.assert_allclose(
        layer.apply(copies, state, X)[0], shared.apply(one, (), X)[0], rtol=1e-4, atol=1e-5
    )


def test_locally_connected_draws_each_place_as_a_convolution():
    params, _ = nn.locally_connected(50, 40, 2, size=(3, 4)).init(jax.random.key(9))
    spread = np.std(params["kernel"], axis=(2, 3, 4, 5))
    np.testing.assert_allclose(spread, np.full((2, 3), (2 * 2 * 50) ** -0.5), rtol=0.05)
    assert len(np.unique(params["kernel"])) > 0.99 * params["kernel"].size


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((0, 3, 3), {}, "conv needs in_channels ≥ 1, got in_channels=0"),
        ((3, -3, 3), {}, "conv needs out_channels ≥ 1, got out_channels=-3"),
        ((3, 3, 0), {}, "conv: kernel_size is 0, but a positive integer"),
        ((3, 3, (3, 3, 3)), {}, r"kernel_size is \(3, 3, 3\)"),
        ((3, 4, 3), {"groups": 2}, "channels that groups divides, got in_channels=3"),
        ((4, 3, 3), {"groups": 2}, "channels that groups divides"),
        ((3, 3, 3), {"padding_mode": "mirror"}, "conv: padding_mode is 'mirror', but must be one"),
    ],
)
def test_refuses_sizes(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        nn.conv(*arguments, **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(nn.depthwise, 0, 3), "depthwise needs channels ≥ 1, got channels=0"),
        (functools.partial(nn.depthwise, 2, 3, multiplier=0), "depthwise needs multiplier ≥ 1"),
        (functools.partial(nn.conv_transpose, 0, 3, 3), "conv_transpose needs in_channels ≥ 1"),
        (functools.partial(nn.conv_transpose, 3, 3, 0), "conv_transpose: kernel_size is 0"),
        (functools.partial(nn.locally_connected, 1, 2, 3, size=0), "locally_connected: size is 0"),
        (functools.partial(nn.locally_connected, 1, 2, 3, size=2), "a window of 3×3 does not fit"),
    ],
)
def test_its_relatives_refuse_sizes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "layer",
    [nn.conv(3, 2, 3), nn.conv_transpose(3, 2, 3), nn.locally_connected(3, 2, 3, size=(7, 8))],
    ids=lambda layer: layer.info.kind,
)
def test_refuses_another_input(layer):
    params, state = layer.init(jax.random.key(3))
    message = rf"{layer.info.kind} expected \[B, H, W, 3\], got float32\[2, 7, 8, 4\]"
    with pytest.raises(ValueError, match=message):
        layer.apply(params, state, X)
    with pytest.raises(TypeError, match=f"{layer.info.kind}: x is uint8, but floating point is"):
        layer.apply(params, state, jnp.ones((2, 7, 8, 3), jnp.uint8))
