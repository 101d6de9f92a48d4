"""What the tests of convolutions share, and how derivatives are checked."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax import lax

from dlcore.kernels.convolve import convolve

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
geometries = st.fixed_dictionaries(
    {
        "stride": pairs,
        "dilation": pairs,
        "padding": st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
    }
)


def reference(x, kernel, *, stride, padding, dilation):
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=stride,
        padding=padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def ours(x, kernel, **geometry):
    return convolve(x, kernel, groups=1, **geometry)


MODES = jax.jacfwd, jax.jacrev
TWICE = tuple(itertools.product(MODES, MODES))


def differences(function, x, ε=1e-5):
    """The Jacobian of each output at a vector x, by central differences."""
    outputs = jax.vmap(function)(x + ε * np.concatenate([np.eye(x.size), -np.eye(x.size)]))
    return [jnp.moveaxis((y[: x.size] - y[x.size :]) / (2 * ε), 0, -1) for y in outputs]


def assert_derivatives(function, x, second=((jax.jacfwd, jax.jacrev),)):
    """The first derivative in each mode at a vector x, and the second, are those of differences.

    `second` names modes over modes: TWICE for all four.
    """

    @jax.jit
    def compare(x):
        once, twice = differences(lambda x: (function(x), jax.jacfwd(function)(x)), x)
        return [
            *((mode(function)(x), once) for mode in MODES),
            *((outer(inner(function))(x), twice) for outer, inner in second),
        ]

    for ours, expected in compare(x):
        np.testing.assert_allclose(ours, expected, 1e-6, 1e-8)
