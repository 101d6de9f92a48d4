"""Convolutions by oneDNN, in the forms that XLA hands to it, against JAX's own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dlcore import device
from dlcore import functional as F
from tests.budget import examples
from tests.functional.conftest import geometries, ours, pairs, reference

pytestmark = pytest.mark.skipif(
    not device.has_onednn(), reason="skipped, because XLA does not call oneDNN here"
)


def derivatives(conv, x, kernel, geometry):
    """Values, both gradients, their own gradients, and forward over reverse."""

    def loss(x, kernel):
        return jnp.mean(jnp.sin(conv(x, kernel, **geometry)).astype(jnp.float32))

    def steepness(x, kernel):
        return sum(jnp.sum(jnp.sin(9 * one)) for one in jax.grad(loss, (0, 1))(x, kernel))

    ways = jnp.cos(x), jnp.cos(kernel)
    return (
        conv(x, kernel, **geometry),
        jax.grad(loss, (0, 1))(x, kernel),
        jax.grad(steepness, (0, 1))(x, kernel),
        jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), ways),
    )


def operands(shape, dtype=np.float32):
    """x [B, H, W, I] and a kernel [h, w, I, O] for shape (B, (H, W), (h, w), I, O)."""
    batch, image, window, inputs, outputs = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *image, inputs))
    kernel = rng.normal(size=(*window, inputs, outputs)) / np.sqrt(np.prod(window) * inputs)
    return x.astype(dtype), kernel.astype(dtype)


def by_onednn(function, *args):
    """The compiled program of a function, as `device.jit` has it compiled."""
    return device.lower(function, *args).compile()


def convolutions(program):
    """How many are oneDNN's, and how many are left to XLA."""
    text = program.as_text()
    return text.count('custom_call_target="__onednn$convolution"'), text.count(" convolution(")


@examples(8)
@example(  # whose kernel's gradient has the images side by side
    geometry={"stride": (2, 3), "dilation": (1, 2), "padding": ((1, 0), (2, 1))},
    window=(2, 3),
    batch=16,
    channels=(3, 2),
)
@given(
    geometry=geometries,
    window=pairs,
    batch=st.sampled_from([1, 3, 16, 34]),
    channels=st.tuples(st.sampled_from([1, 3, 9]), st.sampled_from([2, 16])),
)
def test_derivatives_of_every_kind_are_those_of_jax(geometry, window, batch, channels):
    x, kernel = operands((batch, (7, 8), window, *channels))
    program = by_onednn(lambda *a: derivatives(ours, *a, geometry), x, kernel)
    assert convolutions(program)[0] > 0
    with jax.enable_x64(True):
        exact = (one.astype(np.float64) for one in (x, kernel))
        wanted = jax.jit(lambda *a: derivatives(reference, *a, geometry))(*exact)
    for one, other in zip(
        jax.tree.leaves(program(x, kernel)), jax.tree.leaves(wanted), strict=True
    ):
        scale = np.abs(other).max(initial=1e-3)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float64])
def test_other_types_are_computed_as_well(dtype):
    geometry = {"stride": (2, 2), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    with jax.enable_x64(True):
        x, kernel = operands((4, (8, 8), (3, 3), 3, 9), dtype)
        found = by_onednn(lambda *a: derivatives(ours, *a, geometry), x, kernel)(x, kernel)
        exact = (one.astype(np.float64) for one in (x, kernel))
        wanted = jax.jit(lambda *a: derivatives(reference, *a, geometry)[:2])(*exact)
        tolerance = 20 * float(jnp.finfo(dtype).eps)
        for one, other in zip(jax.tree.leaves(found[:2]), jax.tree.leaves(wanted), strict=True):
            assert one.dtype == dtype
            scale = np.abs(other).max()
            np.testing.assert_allclose(
                np.asarray(one, np.float64), other, rtol=tolerance, atol=tolerance * scale
            )


@pytest.mark.parametrize(
    ("stride", "padding", "window", "spread"),
    [(2, 1, 3, 1), (2, 0, 2, 1), (2, 2, 5, 1), (3, 1, 4, 1), ((2, 1), (1, 0), 3, 1), (1, 1, 3, 2)],
)
def test_the_transpose_is_computed_by_phases(stride, padding, window, spread):
    """Also where a phase sees no pixel, or y ends within one."""
    x, kernel = operands((3, (5, 6), (window, window), 9, 4))
    x = x[..., :4]

    def transpose(x, kernel):
        return F.conv_transpose(x, kernel, stride=stride, padding=padding, dilation=spread)

    program = by_onednn(transpose, x, kernel)
    assert convolutions(program)[1] == 0
    wanted = transpose(x, kernel)  # eager: jit would take what has been lowered for oneDNN
    np.testing.assert_allclose(program(x, kernel), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (64, 128), (3, 16), (8, 1)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_a_step_leaves_no_convolution_to_xla(inputs, outputs, stride, dilation):
    x, kernel = operands((32, (8, 8), (3, 3), inputs, outputs))
    geometry = {
        "stride": (stride, stride),
        "padding": ((1, 1), (1, 1)),
        "dilation": (dilation, dilation),
    }

    def step(x, kernel):
        return jax.grad(lambda *a: jnp.sum(jnp.sin(ours(*a, **geometry))), (0, 1))(x, kernel)

    theirs, left = convolutions(by_onednn(step, x, kernel))
    narrow = stride == 2 and inputs < 8  # the input's gradient, to few channels
    assert (theirs >= 2 and left == 1) if narrow else (theirs >= 3 and left == 0)


def test_images_at_once_under_vmap():
    x, kernel = operands((4, (6, 6), (3, 3), 3, 9))
    kernels = np.stack([kernel, -kernel])
    many = by_onednn(jax.vmap(lambda k: F.conv(x, k, padding=1)), kernels)
    wanted = np.asarray(F.conv(x, kernel, padding=1))
    np.testing.assert_allclose(many(kernels), np.stack([wanted, -wanted]), rtol=1e-4, atol=1e-5)
