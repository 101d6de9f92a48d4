"""The convolution of dlcore.functional against JAX's own, with all its derivatives."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from dlcore import device
from dlcore import functional as F
from tests.functional.conftest import geometries, ours, pairs, reference


def derivatives(conv, x, kernel, geometry):
    """Values, both gradients, their own gradients, forward mode, and forward over reverse."""

    def loss(x, kernel):
        return jnp.sum(jnp.sin(conv(x, kernel, **geometry)))

    def steepness(x, kernel):
        to_x, to_kernel = jax.grad(loss, (0, 1))(x, kernel)
        return jnp.sum(to_x**3) + jnp.sum(to_kernel**2)

    ways = jnp.cos(x), jnp.cos(kernel)
    return (
        conv(x, kernel, **geometry),
        jax.grad(loss, (0, 1))(x, kernel),
        jax.grad(steepness, (0, 1))(x, kernel),
        jax.jvp(loss, (x, kernel), ways),
        jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), ways),
    )


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@given(geometry=geometries, size=pairs, batch=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_derivatives_of_every_kind_are_those_of_jax(geometry, size, batch, seed):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        x, kernel = rng.normal(size=(batch, 7, 8, 2)), rng.normal(size=(*size, 2, 3))
        both = jax.jit(lambda *a: [derivatives(conv, *a, geometry) for conv in (ours, reference)])
        jax.tree.map(close, *both(x, kernel))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_many_at_once_are_each_by_itself(axes, x64):
    rng = np.random.default_rng(0)
    xs, kernels = rng.normal(size=(3, 2, 7, 8, 2)), rng.normal(size=(3, 3, 3, 2, 3))
    operands = [a if axis == 0 else a[0] for a, axis in zip((xs, kernels), axes, strict=True)]

    def gradients(x, kernel):
        return jax.grad(lambda *a: jnp.sum(jnp.sin(F.conv(*a, stride=2, padding=1))), (0, 1))(
            x, kernel
        )

    many = jax.jit(jax.vmap(gradients, axes))(*operands)
    for i in range(3):
        one = [a[i] if axis == 0 else a for a, axis in zip(operands, axes, strict=True)]
        jax.tree.map(close, [a[i] for a in many], list(gradients(*one)))


def convolutions(program):
    """The dimension numbers of the convolutions that XLA is given for `program`."""
    return re.findall(r"dim_numbers = (.*?), window", program.as_text())


def test_the_cpu_gets_gradients_in_the_usual_order():
    x, kernel = jnp.ones((2, 7, 8, 2)), jnp.ones((3, 3, 2, 3))

    def gradients(conv):
        return jax.jit(jax.grad(lambda *a: jnp.sum(jnp.sin(conv(*a))), (0, 1))).trace(x, kernel)

    for platform, orders in {"cpu": 1, "cuda": 3}.items():
        program = gradients(lambda *a: F.conv(*a, padding=1)).lower(lowering_platforms=(platform,))
        assert len(convolutions(program)) == 3
        assert len(set(convolutions(program))) == orders


@pytest.mark.parametrize(
    ("columns", "out", "size", "stride", "at_once"),
    [
        (28, 6, 5, (1, 1), 7),
        (28, 6, 5, (2, 1), 7),
        (32, 3, 3, (1, 1), 4),
        (12, 15, 3, (1, 1), 3),
        (29, 6, 5, (1, 1), 1),  # a prime
        (28, 16, 5, (1, 1), 1),
        (14, 6, 5, (1, 2), 1),
        (28, 6, 1, (1, 1), 1),
        (1, 6, 5, (1, 1), 1),
    ],
)
def test_few_channels_are_computed_several_columns_at_once(
    columns, out, size, stride, at_once, x64
):
    rng = np.random.default_rng(0)
    width = stride[1] * (columns - 1) + size - 2
    x, kernel = rng.normal(size=(2, 9, width, 2)), rng.normal(size=(size, size, 2, out))
    geometry = {"stride": stride, "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    program = jax.jit(lambda *a: ours(*a, **geometry)).lower(x, kernel)
    assert f"stride = [{stride[0]}, {stride[1] * at_once}]" in program.as_text()
    both = [derivatives(conv, x, kernel, geometry) for conv in (ours, reference)]
    jax.tree.map(close, *both)


@pytest.mark.parametrize(
    ("batch", "block"), [(64, 64), (128, 64), (100, 50), (65, 65), (127, 127), (192, 64), (96, 48)]
)
def test_the_gradient_of_a_kernel_is_summed_over_blocks_of_the_batch(batch, block, x64):
    """Blocks of 32 to 64 where they divide the batch; else all at once."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(batch, 5, 6, 2)), rng.normal(size=(3, 3, 2, 3))
    geometry = {"stride": (2, 1), "padding": ((1, 1), (0, 1)), "dilation": (1, 1)}

    def gradient(conv):
        return jax.jit(jax.grad(lambda k: jnp.sum(jnp.sin(conv(x, k, **geometry)))))

    assert f"<2x5x6x{block}xf64>" in gradient(ours).lower(kernel).as_text()
    both = [derivatives(conv, x, kernel, geometry) for conv in (ours, reference)]
    jax.tree.map(close, *both)


@pytest.mark.parametrize("jit", [jax.jit, device.jit])
def test_no_examples_have_no_gradient(jit):
    def total(kernel, x):
        return F.conv(x, kernel, padding=1).sum()

    value, gradient = jit(jax.value_and_grad(total))(jnp.ones((3, 3, 2, 4)), jnp.ones((0, 8, 8, 2)))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((3, 3, 2, 4)))


def test_blocks_are_summed_in_float32_for_bfloat16():
    x, g = jnp.ones((512, 4, 4, 1), jnp.bfloat16), jnp.ones((512, 4, 4, 16), jnp.bfloat16)
    kernel = jnp.zeros((1, 1, 1, 16), jnp.bfloat16)
    _, back = jax.vjp(lambda k: F.conv(x, k), kernel)
    np.testing.assert_array_equal(jax.jit(back)(g)[0].astype(float), 512 * 16)


def test_under_shard_map_jax_own_is_used():
    mesh = jax.make_mesh((1,), ("device",), axis_types=(AxisType.Auto,))
    x, kernel = jnp.ones((2, 7, 8, 2)), jnp.ones((3, 3, 2, 3))

    def gradient(x, kernel):
        return jax.grad(lambda kernel: lax.pmean(jnp.sum(F.conv(x, kernel) ** 2), "device"))(kernel)

    specs = PartitionSpec("device"), PartitionSpec()
    sharded = jax.shard_map(gradient, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    assert "convolve" not in str(jax.make_jaxpr(sharded)(x, kernel))
    expected = jax.grad(lambda kernel: jnp.sum(F.conv(x, kernel) ** 2))(kernel)
    np.testing.assert_allclose(sharded(x, kernel), expected, rtol=1e-6)
