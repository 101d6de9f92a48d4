"""What the tests of convolutions share."""

from __future__ import annotations

from hypothesis import strategies as st
from jax import lax

from dlcore.functional.convolve import convolve

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
