from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import nn

X = np.random.default_rng(0).normal(size=(2, 7, 8, 4)).astype(np.float32)


def drawn(layer, seed):
    """(params, state), with which NumPy computes on."""
    return jax.device_get(layer.init(jax.random.key(seed)))


def output(layer, params, x=X):
    return jax.jit(layer.apply)(params, (), x)[0]


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
    params, state = drawn(layer, 1)
    assert state == ()
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, theirs)
    expected = jax.jit(reference.apply)({"params": params}, X)
    np.testing.assert_allclose(output(layer, params), expected, rtol=1e-5, atol=1e-5)


def test_is_a_linear_layer_where_the_kernel_covers_everything():
    layer, dense = nn.conv(4, 3, (7, 8)), nn.linear(7 * 8 * 4, 3)
    params, _ = drawn(layer, 2)
    flat = {"kernel": params["kernel"].reshape(-1, 3), "bias": params["bias"]}
    expected = output(dense, flat, X.reshape(2, -1))[:, None, None]
    np.testing.assert_allclose(output(layer, params), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_padding_mode_is_padding_first(mode):
    settings = {"stride": 2, "padding": (2, 1), "dilation": 2, "padding_mode": mode}
    layer = nn.conv(4, 3, 3, **settings)
    params, _ = drawn(layer, 4)
    padded = np.pad(X, [(0, 0), (2, 2), (1, 1), (0, 0)], mode=mode)
    plain = nn.conv(4, 3, 3, stride=2, dilation=2)
    np.testing.assert_allclose(output(layer, params), output(plain, params, padded), rtol=1e-5)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_depthwise_convolves_each_channel_alone(mode):
    window = {"stride": 2, "padding": "SAME", "padding_mode": mode}
    layer = nn.depthwise(4, 3, multiplier=2, **window)
    params, _ = drawn(layer, 5)
    assert jax.tree.map(jnp.shape, params) == {"kernel": (3, 3, 1, 8), "bias": (8,)}
    y = np.asarray(output(layer, params))
    alone = jax.jit(nn.conv(1, 2, 3, **window, bias=False).apply)
    for c in range(4):
        own = slice(2 * c, 2 * c + 2)
        part, _ = alone({"kernel": params["kernel"][..., own]}, (), X[..., c : c + 1])
        np.testing.assert_allclose(y[..., own], part + params["bias"][own], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "output_padding", "size"),
    [
        ({"kernel_size": 4, "stride": 2, "padding": 1}, (0, 0), (14, 16)),
        ({"kernel_size": (3, 2), "stride": (3, 1), "groups": 2}, (0, 0), (21, 9)),
        ({"kernel_size": 3, "stride": 2, "padding": (1, 2), "dilation": 2}, (1, 0), (16, 15)),
        ({"kernel_size": 2, "dilation": (3, 1), "groups": 4, "bias": False}, (0, 0), (10, 9)),
        ({"kernel_size": 3, "stride": 3, "padding": 2, "groups": 2}, (1, 2), (18, 22)),
        ({"kernel_size": 3, "stride": 2}, (1, 1), (16, 18)),
    ],
)
def test_conv_transpose_equals_torch_by_the_axes_of_its_conv(settings, output_padding, size, torch):
    module = torch.nn.ConvTranspose2d(4, 8, output_padding=output_padding, **settings)
    pads = np.broadcast_to(settings.get("padding", 0), 2).tolist()
    sides = [(p, p - o) for p, o in zip(pads, output_padding, strict=True)]
    start = nn.init.normal(1.0)
    layer = nn.conv_transpose(4, 8, bias_init=start, **{**settings, "padding": sides})
    params, state = layer.init(jax.random.key(6))
    module.weight.data = torch.tensor(np.transpose(params["kernel"], (3, 2, 0, 1)))
    if "bias" in params:
        module.bias.data = torch.tensor(np.array(params["bias"]))
    images = torch.tensor(np.transpose(X, (0, 3, 1, 2)), requires_grad=True)
    expected = module(images)
    (expected**2).sum().backward()

    @jax.jit
    def gradients_and_value(params, x):
        def loss(params, x):
            y, _ = layer.apply(params, state, x)
            return jnp.sum(y**2), y

        return jax.grad(loss, (0, 1), has_aux=True)(params, x)

    (by_params, by_x), y = gradients_and_value(params, X)
    assert y.shape == (2, *size, 8)
    theirs = {"kernel": module.weight.grad.permute(2, 3, 1, 0)}
    if "bias" in params:
        theirs["bias"] = module.bias.grad
    assert by_params.keys() == theirs.keys()
    pairs = [(by_params[name], theirs[name]) for name in theirs]
    pairs += [(y, expected.permute(0, 2, 3, 1)), (by_x, images.grad.permute(0, 2, 3, 1))]
    for ours, wanted in pairs:
        np.testing.assert_allclose(ours, wanted.detach().numpy(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("groups", [1, 4])
def test_conv_transpose_is_drawn_by_the_fans_of_its_own_direction(groups):
    params, _ = nn.conv_transpose(400, 20, 2, groups=groups).init(jax.random.key(7))
    assert params["kernel"].shape == (2, 2, 20 // groups, 400)
    fan = 2 * 2 * 400 / groups
    np.testing.assert_allclose(np.std(params["kernel"]), fan**-0.5, rtol=0.03)


def test_conv_transpose_in_groups_is_drawn_as_a_convolution_in_groups():
    """Group by group the kernel of a convolution from x to y, with its last axes exchanged."""
    conv, transposed = (
        drawn(make(6, 4, (3, 2), groups=2), 10)[0]["kernel"]
        for make in (nn.conv, nn.conv_transpose)
    )
    for g in range(2):
        own = conv[..., 2 * g : 2 * g + 2]
        np.testing.assert_array_equal(transposed[..., 3 * g : 3 * g + 3], np.swapaxes(own, 2, 3))


def test_locally_connected_has_a_kernel_and_a_bias_for_each_place():
    """LeNet-5's first layer without sharing: 28·28·6 units with 5·5 + 1 weights each."""
    layer = nn.locally_connected(1, 6, 5, size=(32, 32))
    assert nn.summary(layer, (1, 32, 32, 1)).parameters == 28 * 28 * 6 * 26
    layer = nn.locally_connected(4, 3, (3, 2), size=(7, 8), stride=2, padding=(1, 0))
    params, _ = drawn(layer, 8)
    shapes = {"kernel": (4, 4, 3, 2, 4, 3), "bias": (4, 4, 3)}
    assert jax.tree.map(jnp.shape, params) == shapes
    shared = nn.conv(4, 3, (3, 2), stride=2, padding=(1, 0))
    one = jax.tree.map(lambda leaf: leaf[1, 2] + 1, params)
    copies = jax.tree.map(lambda leaf, shape: np.broadcast_to(leaf, shape), one, shapes)
    np.testing.assert_allclose(output(layer, copies), output(shared, one), rtol=1e-4, atol=1e-5)


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
        ((3, 3, 3), {"padding": "same"}, "conv: padding is 'same': write padding=\"SAME\""),
        ((3, 3, 3), {"padding": -1}, "conv: padding is -1"),
        ((3, 3, 3), {"stride": 0}, "conv: stride is 0"),
        ((3, 3, 3), {"dilation": 1.5}, "conv: dilation is 1.5"),
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
        (functools.partial(nn.conv_transpose, 4, 3, 2, groups=2), "channels that groups divides"),
        (functools.partial(nn.conv_transpose, 3, 3, 2, padding=-1), "conv_transpose: padding is"),
        (functools.partial(nn.conv_transpose, 3, 3, 2, dilation=0), "conv_transpose: dilation is"),
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
    trees = jax.eval_shape(layer.init, jax.random.key(3))
    message = rf"{layer.info.kind} expected \[B, H, W, 3\], got float32\[2, 7, 8, 4\]"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(layer.apply, *trees, X)
    with pytest.raises(TypeError, match=f"{layer.info.kind}: x is uint8, but floating point is"):
        jax.eval_shape(layer.apply, *trees, np.ones((2, 7, 8, 3), np.uint8))
