from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import nn


def data(seed, shape=(6, 5, 4, 3)):
    scale = np.array([0.1, 1.0, 5.0])
    rng = np.random.default_rng(seed)
    return rng.normal(scale, scale, shape).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def apply(layer, params, state, x, train=False):
    """Compiled once for each layer and shape."""
    return layer.apply(params, state, x, train=train)


@functools.partial(jax.jit, static_argnums=0, static_argnames="mutable")
def apply_linen(module, variables, x, mutable=False):
    return module.apply(variables, x, mutable=mutable)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((6, 5, 4, 3), {}),
        ((6, 5, 4, 3), {"momentum": 0.6, "eps": 0.1}),
        ((8, 3), {}),
        ((4, 5, 3), {}),
    ],
)
def test_equals_flax_in_training_and_evaluation(shape, settings, standard_promotion):
    settings = {"momentum": 0.9, "eps": 1e-5} | settings
    layer = nn.batch_norm(3, **settings)
    params, state = layer.init(jax.random.key(0))
    params = {"scale": np.float32([1.0, -2.0, 0.5]), "offset": np.float32([0.0, 1.0, 2.0])}
    theirs = {
        "params": {"scale": params["scale"], "bias": params["offset"]},
        "batch_stats": dict(state),
    }
    norm = functools.partial(
        linen.BatchNorm, momentum=settings["momentum"], epsilon=settings["eps"]
    )
    training = norm(use_running_average=False)
    for step in range(3):
        x = data(step, shape)
        y, state = apply(layer, params, state, x, train=True)
        expected, updates = apply_linen(training, theirs, x, mutable="batch_stats")
        theirs |= updates
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        for name in ("mean", "var"):
            np.testing.assert_allclose(
                state[name], theirs["batch_stats"][name], rtol=1e-4, atol=1e-6
            )
    y, _ = apply(layer, params, state, x)
    expected = apply_linen(norm(use_running_average=True), theirs, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_differs_from_torch_as_the_docstring_says(torch):
    x, n = data(0), 6 * 5 * 4
    layer, reference = nn.batch_norm(3), torch.nn.BatchNorm2d(3, momentum=0.1)
    params, state = layer.init(jax.random.key(0))
    y, state = layer.apply(params, state, x, train=True)
    expected = reference(torch.tensor(np.transpose(x, (0, 3, 1, 2))))
    np.testing.assert_allclose(
        y, np.transpose(expected.detach().numpy(), (0, 2, 3, 1)), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(state["mean"], reference.running_mean.numpy(), rtol=1e-5)
    batch_var = (state["var"] - 0.9) / 0.1
    np.testing.assert_allclose(
        0.9 + 0.1 * batch_var * n / (n - 1), reference.running_var.numpy(), rtol=1e-5
    )


WEIGHTS = {
    "scale": np.linspace(-1.0, 2.0, 6, dtype=np.float32),
    "offset": np.linspace(0.5, -1.5, 6, dtype=np.float32),
}


def weights(kind):
    """An RMS norm has no offset."""
    return {name: leaf for name, leaf in WEIGHTS.items() if kind != "rms_norm" or name == "scale"}


STATELESS = {
    "rms_norm": (nn.rms_norm(6), nn.rms_norm(6, eps=1e-6), linen.RMSNorm()),
    "layer_norm": (nn.layer_norm(6), nn.layer_norm(6, eps=1e-6), linen.LayerNorm()),
    "group_norm": (nn.group_norm(6, 3), nn.group_norm(6, 3, eps=1e-6), linen.GroupNorm(3)),
    "instance_norm": (
        nn.instance_norm(6),
        nn.instance_norm(6, eps=1e-6),
        linen.InstanceNorm(),
    ),
}


def images():
    rng = np.random.default_rng(0)
    return rng.normal(np.arange(6), np.linspace(0.1, 3, 6), (4, 5, 3, 6)).astype(np.float32)


def value_and_gradients(apply, params, x):
    """y = apply(params, x), and the gradients of Σ y³/3 with respect to params and x."""

    def both(params, x):
        y, back = jax.vjp(apply, params, x)
        return y, *back(y**2)

    return jax.jit(both)(params, x)


@pytest.mark.parametrize("kind", ["batch_norm", *STATELESS])
def test_values_and_gradients_are_torchs(kind, torch):
    x = images()
    layer, module, channels_first = {
        "batch_norm": (nn.batch_norm(6), torch.nn.BatchNorm2d(6), True),
        "layer_norm": (STATELESS["layer_norm"][0], torch.nn.LayerNorm(6), False),
        "rms_norm": (STATELESS["rms_norm"][0], torch.nn.RMSNorm(6, eps=1e-5), False),
        "group_norm": (STATELESS["group_norm"][0], torch.nn.GroupNorm(3, 6), True),
        "instance_norm": (
            STATELESS["instance_norm"][0],
            torch.nn.InstanceNorm2d(6, affine=True),
            True,
        ),
    }[kind]
    _, state = layer.init(jax.random.key(0))
    y, by_params, by_x = value_and_gradients(
        lambda params, x: layer.apply(params, state, x, train=True)[0], weights(kind), x
    )
    with torch.no_grad():
        module.weight.copy_(torch.tensor(np.asarray(WEIGHTS["scale"])))
        if kind != "rms_norm":
            module.bias.copy_(torch.tensor(np.asarray(WEIGHTS["offset"])))
    theirs = torch.tensor(np.asarray(x), requires_grad=True)
    expected = module(theirs.permute(0, 3, 1, 2)) if channels_first else module(theirs)
    ((expected**3).sum() / 3).backward()
    expected = expected.permute(0, 2, 3, 1) if channels_first else expected
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(y, expected.detach().numpy())
    close(by_params["scale"], module.weight.grad.numpy(), rtol=1e-3)
    if kind != "rms_norm":
        close(by_params["offset"], module.bias.grad.numpy(), rtol=1e-3)
    close(by_x, theirs.grad.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", STATELESS)
def test_values_and_gradients_are_flaxs_with_its_epsilon(kind, standard_promotion):
    _, layer, module = STATELESS[kind]
    given = weights(kind), images()
    ours = value_and_gradients(lambda params, x: layer.apply(params, (), x)[0], *given)
    names = {"scale": "scale", "offset": "bias"}
    theirs = value_and_gradients(
        lambda params, x: module.apply(
            {"params": {names[name]: leaf for name, leaf in params.items()}}, x
        ),
        *given,
    )
    chex.assert_trees_all_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", STATELESS)
def test_bfloat16_has_float32_statistics(kind):
    """Of a mean of 300, where bfloat16 knows multiples of 2 alone: the error of y is its own."""
    layer = STATELESS[kind][0]
    x = (images() * 20 + 300).astype(jnp.bfloat16)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), weights(kind))
    y, state = apply(layer, params, (), x, train=True)
    assert (y.dtype, state) == (jnp.bfloat16, ())
    wide = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    expected, _ = apply(layer, wide, (), x.astype(np.float32))
    np.testing.assert_allclose(np.asarray(y, np.float32), expected, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("kind", STATELESS)
def test_examples_do_not_depend_on_each_other(kind):
    layer, x = STATELESS[kind][0], images()
    params = weights(kind)
    together, _ = apply(layer, params, (), x, train=True)
    alone = [apply(layer, params, (), x[i : i + 1])[0] for i in range(len(x))]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-5)


def test_extreme_groups_are_the_other_norms():
    x = images()
    by_channel, _ = apply(nn.group_norm(6, 6), WEIGHTS, (), x)
    instances, _ = apply(nn.instance_norm(6), WEIGHTS, (), x)
    np.testing.assert_allclose(by_channel, instances, rtol=1e-4)
    vectors = x[:, 0, 0]
    all_in_one, _ = apply(nn.group_norm(6, 1), WEIGHTS, (), vectors)
    layers, _ = apply(nn.layer_norm(6), WEIGHTS, (), vectors)
    np.testing.assert_allclose(all_in_one, layers, rtol=1e-4, atol=1e-6)


def halves(x):
    return x.reshape(2, -1, *x.shape[1:])


def test_a_named_axis_of_vmap_joins_the_batches_and_without_a_name_each_is_its_own():
    """Also for means that differ by far more than the deviations, and in the gradients."""
    x = images()
    x[2:] += np.float32([0.0, 0.1, 1.0, 10.0, 100.0, 1e3])
    alone, joined = nn.batch_norm(6), nn.batch_norm(6, axis_name="batch")
    _, state = alone.init(jax.random.key(0))

    def by_vmap(layer, params, x):
        y, states = jax.vmap(
            lambda half: layer.apply(params, state, half, train=True), axis_name="batch"
        )(halves(x))
        return y.reshape(x.shape), states

    def whole(params, x):
        return apply(alone, params, state, x, train=True)

    in_parts = jax.jit(by_vmap, static_argnums=0)
    y, states = in_parts(joined, WEIGHTS, x)
    expected, new = whole(WEIGHTS, x)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
    for name in ("mean", "var"):
        np.testing.assert_allclose(states[name], np.stack([new[name]] * 2), rtol=1e-5)
    chex.assert_trees_all_close(
        value_and_gradients(lambda params, x: in_parts(joined, params, x)[0], WEIGHTS, x),
        value_and_gradients(lambda params, x: whole(params, x)[0], WEIGHTS, x),
        rtol=1e-3,
        atol=1e-3,
    )
    y, states = jax.device_get(in_parts(alone, WEIGHTS, x))
    for i, half in enumerate(halves(x)):
        expected, new = whole(WEIGHTS, half)
        np.testing.assert_allclose(halves(y)[i], expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(states["mean"][i], new["mean"], rtol=1e-5)
        np.testing.assert_allclose(states["var"][i], new["var"], rtol=1e-3)


def test_a_named_axis_that_is_not_around_is_refused():
    layer = nn.batch_norm(3, axis_name="device")
    params, state = layer.init(jax.random.key(0))
    apply(layer, params, state, data(3))  # in evaluation there is nothing to join
    training = functools.partial(layer.apply, train=True)
    for form in (training, jax.jit(training), jax.vmap(training, (None, None, 0))):
        with pytest.raises(ValueError, match="axis_name is 'device', but no axis of that name is"):
            form(params, state, data(3))


@pytest.mark.slow
def test_two_devices_normalise_as_one():
    """Values, the state and the gradients under shard_map, values under pmap."""
    code = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from dlcore import nn

assert jax.device_count() == 2
joined, alone = nn.batch_norm(3, axis_name="device"), nn.batch_norm(3)
params, state = alone.init(jax.random.key(0))
rng = np.random.default_rng(0)
x = jnp.asarray(rng.normal([1, 2, 1e3], [0.1, 1, 5], (8, 5, 3)), jnp.float32)
weights = jnp.asarray(rng.normal(size=x.shape), jnp.float32)

def on_one(params, x):
    return alone.apply(params, state, x, train=True)

on_two = jax.shard_map(
    lambda params, x: joined.apply(params, state, x, train=True),
    mesh=Mesh(np.array(jax.devices()), ("device",)),
    in_specs=(P(), P("device")),
    out_specs=(P("device"), P()),
)

def everything(apply):
    def loss(params, x):
        y, state = apply(params, x)
        return jnp.sum(weights * y**2), (y, state)
    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)

jax.tree.map(
    lambda two, one: np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-3),
    everything(on_two), everything(on_one),
)
y, _ = jax.pmap(lambda x: joined.apply(params, state, x, train=True), "device")(
    x.reshape(2, 4, 5, 3)
)
np.testing.assert_allclose(y.reshape(x.shape), on_one(params, x)[0], rtol=1e-4, atol=1e-4)
"""
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | two,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_one_value_a_feature_gives_the_offset():
    layer = nn.batch_norm(3)
    params, state = layer.init(jax.random.key(0))
    params["offset"] = np.float32([1.0, 2.0, 3.0])
    x = np.float32([[5.0, 1e4, -7.0]])
    y, state = apply(layer, params, state, x, train=True)
    np.testing.assert_array_equal(y, [params["offset"]])
    np.testing.assert_allclose(state["mean"], 0.1 * x[0], rtol=1e-6)
    np.testing.assert_allclose(state["var"], 0.9, rtol=1e-6)


def test_state_is_float32_and_right_for_bfloat16():
    layer = nn.batch_norm(3)
    params, state = layer.init(jax.random.key(0))
    x = data(1, (512, 3)).astype(jnp.bfloat16)
    y, state = apply(layer, params, state, x, train=True)
    assert (y.dtype, state["mean"].dtype, state["var"].dtype) == (
        jnp.bfloat16,
        jnp.float32,
        jnp.float32,
    )
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(state["mean"], 0.1 * wide.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["var"], 0.9 + 0.1 * wide.var(0), rtol=1e-4)


def test_buffers_are_apart_so_that_they_can_be_donated():
    params, state = nn.batch_norm(3).init(jax.random.key(0))
    step = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    moved = step((params, state))
    assert jax.tree.leaves(moved)[0].shape == (3,)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (nn.batch_norm, {"features": 0}, "batch_norm needs features ≥ 1"),
        (nn.batch_norm, {"features": 3, "momentum": 1.1}, "momentum is 1.1"),
        (nn.batch_norm, {"features": 3, "eps": 0}, "batch_norm: eps is 0"),
        (nn.layer_norm, {"features": 3, "eps": -1.0}, "layer_norm: eps is -1.0"),
        (nn.rms_norm, {"features": 3, "eps": 0.0}, "rms_norm: eps is 0.0"),
        (nn.rms_norm, {"features": 0}, "rms_norm needs features ≥ 1"),
        (nn.instance_norm, {"features": -2}, "instance_norm needs features ≥ 1"),
        (nn.group_norm, {"features": 6, "groups": 0}, "group_norm needs groups ≥ 1"),
        (nn.group_norm, {"features": 6, "groups": 4}, "groups divides, got features=6, groups=4"),
    ],
)
def test_refuses(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("layer", "shape", "wanted"),
    [
        (nn.batch_norm(3), (2, 4), "B, ..., 3"),
        (nn.batch_norm(3), (3,), "B, ..., 3"),
        (nn.layer_norm(3), (2, 4), "..., 3"),
        (nn.rms_norm(3), (2, 4), "..., 3"),
        (nn.group_norm(6, 2), (6,), "B, ..., 6"),
        (nn.instance_norm(3), (2, 3), "B, H, ..., 3"),
    ],
)
def test_refuses_another_input(layer, shape, wanted):
    message = f"{layer.info.kind} expected [{wanted}], got float32{list(shape)}"
    with pytest.raises(ValueError, match=re.escape(message)):
        layer.apply(*layer.init(jax.random.key(0)), np.ones(shape, np.float32))


def test_standardize():
    x = data(2)
    mean, std = x.mean((0, 1, 2)), x.std((0, 1, 2))
    layer = nn.standardize(mean, std)
    y, state = apply(layer, (), (), x)
    np.testing.assert_allclose(np.mean(y, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(y, (0, 1, 2)), 1, rtol=1e-5)
    assert layer.init(jax.random.key(0)) == ((), state) == ((), ())
    assert all(isinstance(value, float) for value in layer.info.config["mean"])
    np.testing.assert_allclose(
        apply(nn.standardize(0.5, 2.0), (), (), x)[0], (x - 0.5) / 2, rtol=1e-6
    )


def test_standardize_refuses():
    with pytest.raises(ValueError, match="std > 0 is wanted"):
        nn.standardize(0.0, (1.0, 0.0))
    with pytest.raises(ValueError, match=r"mean has shape \(1, 2\)"):
        nn.standardize([[1.0, 2.0]], 1.0)
    with pytest.raises(ValueError, match=r"mean=\(1.0, 2.0\) does not fit float32\[6, 5, 4, 3\]"):
        nn.standardize((1.0, 2.0), 1.0).apply((), (), data(0))
    with pytest.raises(TypeError, match="standardize: x is uint8, but floating point is wanted"):
        nn.standardize(0.5, 0.2).apply((), (), np.ones((2, 3), np.uint8))
