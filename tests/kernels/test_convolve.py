"""The convolution of dlcore.functional against JAX's own, with all its derivatives."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from dlcore import device
from dlcore import functional as F
from tests.budget import examples
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


def assert_derivatives_are_those_of_jax(x, kernel, geometry):
    both = jax.jit(lambda *a: [derivatives(conv, *a, geometry) for conv in (ours, reference)])
    jax.tree.map(close, *both(x, kernel))


@given(geometry=geometries, size=pairs, batch=st.integers(1, 3), seed=st.integers(0, 99))
@examples(8)
def test_derivatives_of_every_kind_are_those_of_jax(geometry, size, batch, seed):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        x, kernel = rng.normal(size=(batch, 7, 8, 2)), rng.normal(size=(*size, 2, 3))
        assert_derivatives_are_those_of_jax(x, kernel, geometry)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_many_at_once_are_each_by_itself(axes, x64):
    rng = np.random.default_rng(0)
    xs, kernels = rng.normal(size=(3, 2, 7, 8, 2)), rng.normal(size=(3, 3, 3, 2, 3))
    operands = [a if axis == 0 else a[0] for a, axis in zip((xs, kernels), axes, strict=True)]

    def gradients(x, kernel):
        return jax.grad(lambda *a: jnp.sum(jnp.sin(F.conv(*a, stride=2, padding=1))), (0, 1))(
            x, kernel
        )

    @jax.jit
    def many_and_each(*operands):
        each = [
            gradients(*(a[i] if axis == 0 else a for a, axis in zip(operands, axes, strict=True)))
            for i in range(3)
        ]
        return jax.vmap(gradients, axes)(*operands), each

    many, each = many_and_each(*operands)
    for i, one in enumerate(each):
        jax.tree.map(close, tuple(a[i] for a in many), one)


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def convolutions(program):
    """The dimension numbers of the convolutions that XLA is given for `program`."""
    return re.findall(r"dim_numbers = (.*?), window", program.as_text())


def test_the_cpu_gets_gradients_in_the_usual_order():
    x, kernel = ones(2, 7, 8, 2), ones(3, 3, 2, 3)

    def gradients(conv):
        return jax.jit(jax.grad(lambda *a: jnp.sum(jnp.sin(conv(*a))), (0, 1))).trace(x, kernel)

    for platform, orders in {"cpu": 1, "cuda": 3}.items():
        program = gradients(lambda *a: F.conv(*a, padding=1)).lower(lowering_platforms=(platform,))
        assert len(convolutions(program)) == 3
        assert len(set(convolutions(program))) == orders


def few_channels(columns, out, size, stride):
    """x, kernel and geometry where y has so many columns and channels."""
    rng = np.random.default_rng(0)
    width = stride[1] * (columns - 1) + size - 2
    x, kernel = rng.normal(size=(2, 9, width, 2)), rng.normal(size=(size, size, 2, out))
    return x, kernel, {"stride": stride, "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}


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
    x, kernel, geometry = few_channels(columns, out, size, stride)
    program = jax.jit(lambda *a: ours(*a, **geometry)).lower(x, kernel)
    assert f"stride = [{stride[0]}, {stride[1] * at_once}]" in program.as_text()


@pytest.mark.parametrize(
    "shape",
    [
        (32, 3, 3, (1, 1)),
        pytest.param((28, 6, 5, (1, 1)), marks=pytest.mark.slow),
        pytest.param((28, 6, 5, (2, 1)), marks=pytest.mark.slow),
        pytest.param((12, 15, 3, (1, 1)), marks=pytest.mark.slow),
    ],
)
def test_derivatives_of_columns_at_once(shape, x64):
    assert_derivatives_are_those_of_jax(*few_channels(*shape))


def strided(batch):
    """x, kernel and geometry of a convolution with so many examples."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(batch, 5, 6, 2)), rng.normal(size=(3, 3, 2, 3))
    return x, kernel, {"stride": (2, 1), "padding": ((1, 1), (0, 1)), "dilation": (1, 1)}


@pytest.mark.parametrize(
    ("batch", "block"), [(64, 64), (128, 64), (100, 50), (65, 65), (127, 127), (192, 64), (96, 48)]
)
def test_the_gradient_of_a_kernel_is_summed_over_blocks_of_the_batch(batch, block, x64):
    """Blocks of 32 to 64 where they divide the batch; else all at once."""
    x, kernel, geometry = strided(batch)
    gradient = jax.jit(jax.grad(lambda k: jnp.sum(jnp.sin(ours(x, k, **geometry)))))
    assert f"<2x5x6x{block}xf64>" in gradient.lower(kernel).as_text()


@pytest.mark.parametrize("batch", [100, pytest.param(192, marks=pytest.mark.slow)])
def test_derivatives_of_sums_over_blocks(batch, x64):
    assert_derivatives_are_those_of_jax(*strided(batch))


@pytest.mark.parametrize("jit", [jax.jit, device.jit])
def test_no_examples_have_no_gradient(jit):
    def total(kernel, x):
        return F.conv(x, kernel, padding=1).sum()

    value, gradient = jit(jax.value_and_grad(total))(ones(3, 3, 2, 4), ones(0, 8, 8, 2))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((3, 3, 2, 4)))


def test_blocks_are_summed_in_float32_for_bfloat16():
    """A block's sum, 64 · 121, and that of all are numbers of bfloat16; some in between are not."""
    x, g = (ones(512, 11, 11, channels, dtype=jnp.bfloat16) for channels in (1, 16))

    @jax.jit
    def gradient(kernel, g):
        return jax.vjp(lambda kernel: F.conv(x, kernel), kernel)[1](g)[0]

    kernel = ones(1, 1, 1, 16, dtype=jnp.bfloat16)
    np.testing.assert_array_equal(gradient(kernel, g).astype(float), 512 * 121)


def test_under_shard_map_jax_own_is_used():
    mesh = jax.make_mesh((1,), ("device",), axis_types=(AxisType.Auto,))
    x, kernel = ones(2, 7, 8, 2), ones(3, 3, 2, 3)

    def gradient(x, kernel):
        return jax.grad(lambda kernel: lax.pmean(jnp.sum(F.conv(x, kernel) ** 2), "device"))(kernel)

    specs = PartitionSpec("device"), PartitionSpec()
    sharded = jax.shard_map(gradient, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    assert "convolve" not in str(jax.make_jaxpr(sharded)(x, kernel))
    expected = jax.jit(jax.grad(lambda kernel: jnp.sum(F.conv(x, kernel) ** 2)))(kernel)
    np.testing.assert_allclose(jax.jit(sharded)(x, kernel), expected, rtol=1e-6)
