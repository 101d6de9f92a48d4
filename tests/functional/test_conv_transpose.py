"""Transposed convolution against its definition, the transpose, and against the peers."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples
from tests.functional.conftest import TWICE, assert_derivatives


def arrays(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@given(
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(["VALID", "SAME", 1, (0, 2), ((1, 0), (2, 1))]),
    groups=st.integers(1, 2),
)
@examples(15)
def test_is_the_transpose_of_conv(size, window, stride, dilation, padding, groups):
    """⟨conv(y, kernel), x⟩ = ⟨y, conv_transpose(x, kernel)⟩ for y of the size that it gives."""
    x, kernel = arrays(0, (2, *size, 4), (*window, 3, 4))
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    extents = [(length - 1) * dilation + 1 for length in window]
    if padding == "SAME":
        before = [length * step for length, step in zip(size, stride, strict=True)]
    else:
        total = {"VALID": (0, 0), 1: (2, 2), (0, 2): (0, 4)}.get(padding, (1, 3))
        before = [
            (length - 1) * step + extent - pad
            for length, step, extent, pad in zip(size, stride, extents, total, strict=True)
        ]
    if min(before) < 1:
        with pytest.raises(ValueError, match="leaves nothing of x"):
            F.conv_transpose(x, kernel, **options)
        return
    (y,) = arrays(1, (2, *before, 3 * groups))

    @jax.jit
    def products(x, y):
        transposed = F.conv_transpose(x, kernel, **options)
        assert transposed.shape == y.shape
        return jnp.vdot(F.conv(y, kernel, **options), x), jnp.vdot(y, transposed)

    np.testing.assert_allclose(*products(x, y), rtol=1e-4, atol=1e-4)


def test_is_the_equation():
    """Each pixel lays down the kernel, times what it holds, in float64; beyond lie zeros."""
    x, kernel = arrays(2, (2, 3, 4, 3), (4, 3, 2, 3))
    expected = np.zeros((2, 2 * 2 + 4, 2 * 3 + 3, 2))
    for i, j, u, v in np.ndindex(3, 4, 4, 3):
        expected[:, 2 * i + u, 2 * j + v] += np.einsum("bo,co->bc", x[:, i, j], kernel[u, v])

    @jax.jit
    def whole_and_cropped(x, kernel):
        paddings = "VALID", ((1, 2), (0, 1)), ((1, -2), (0, 1)), ((0, 0), (2, -1))
        return [F.conv_transpose(x, kernel, stride=2, padding=padding) for padding in paddings]

    ours, cropped, *beyond = whole_and_cropped(x, kernel)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(cropped, expected[:, 1:-2, :-1], rtol=1e-5, atol=1e-5)
    larger = np.pad(expected, [(0, 0), (0, 2), (0, 1), (0, 0)])
    for y, wanted in zip(beyond, (larger[:, 1:, :-2], larger[:, :-2, 2:]), strict=True):
        np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)


def value_and_gradients(function, *arguments):
    def loss(*arguments):
        y = function(*arguments)
        return jnp.sum(y**2), y

    gradients, y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(*arguments)
    return y, *gradients


@pytest.mark.parametrize(
    ("window", "stride", "padding", "output_padding", "dilation", "groups"),
    [
        (4, 2, (1, 1), (0, 0), 1, 1),
        (3, 2, (1, 1), (1, 1), 1, 1),
        (2, 2, (0, 0), (0, 0), 1, 1),
        ((3, 2), (1, 3), (1, 0), (0, 0), 1, 2),
        (3, 2, (2, 2), (1, 0), 2, 4),
        (2, 3, (0, 0), (0, 0), 1, 1),
        (3, 2, (0, 0), (1, 1), 1, 1),
        (3, 2, (1, 0), (0, 1), 1, 2),
        (2, (4, 3), (0, 1), (3, 2), 1, 1),
        (3, 1, (0, 0), (2, 1), 3, 1),
    ],
)
def test_equals_torch(window, stride, padding, output_padding, dilation, groups, torch):
    reference = torch.nn.ConvTranspose2d(
        4, 8, window, stride, padding, output_padding, groups, bias=False, dilation=dilation
    )
    (x,) = arrays(3, (2, 3, 5, 4))
    images = torch.tensor(np.transpose(x, (0, 3, 1, 2)), requires_grad=True)
    y = reference(images)
    dx, dweight = torch.autograd.grad((y**2).sum(), (images, reference.weight))

    def ours(x, kernel):
        sides = [(p, p - o) for p, o in zip(padding, output_padding, strict=True)]
        options = {"stride": stride, "padding": sides, "dilation": dilation, "groups": groups}
        return F.conv_transpose(x, kernel, **options)

    kernel = np.transpose(reference.weight.detach().numpy(), (2, 3, 1, 0))
    to_ours = ((0, 2, 3, 1), (0, 2, 3, 1), (2, 3, 1, 0))
    for array, expected, axes in zip(
        value_and_gradients(ours, x, kernel), (y, dx, dweight), to_ours, strict=True
    ):
        np.testing.assert_allclose(
            array, np.transpose(expected.detach().numpy(), axes), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize(
    ("window", "stride"), [((3, 3), (1, 2)), ((4, 5), (2, 3)), ((2, 4), (2, 1)), ((1, 2), (2, 3))]
)
def test_equals_flax(window, stride, padding, standard_promotion):
    """With transpose_kernel and without, for which the kernel is turned and its axes exchanged."""
    ours = padding
    if padding == "VALID":  # rows of zeros where the stride is larger than the window
        ours = [(0, min(w - s, 0)) for w, s in zip(window, stride, strict=True)]
    x, kernel = arrays(4, (2, 3, 4, 3), (*window, 2, 3))

    def theirs(transpose_kernel, x, kernel):
        kernel = kernel if transpose_kernel else kernel[::-1, ::-1].swapaxes(2, 3)
        reference = linen.ConvTranspose(
            2, window, stride, padding, use_bias=False, transpose_kernel=transpose_kernel
        )
        return reference.apply({"params": {"kernel": kernel}}, x)

    forms = [
        functools.partial(F.conv_transpose, stride=stride, padding=ours),
        functools.partial(theirs, True),
        functools.partial(theirs, False),
    ]
    found, *expected = jax.jit(lambda *a: [value_and_gradients(form, *a) for form in forms])(
        x, kernel
    )
    for one in expected:
        chex.assert_trees_all_close(found, one, rtol=1e-4, atol=1e-4)


def test_derivatives_of_any_order_and_mode(x64):
    def squared(flat):
        x, kernel = flat[:8].reshape(1, 2, 2, 2), flat[8:].reshape(3, 2, 1, 2)
        return F.conv_transpose(x, kernel, stride=2).ravel() ** 2

    assert_derivatives(squared, np.random.default_rng(5).normal(size=20), TWICE)


def test_runs_under_vmap_and_stays_bfloat16():
    x, kernel = arrays(6, (3, 2, 3, 3, 2), (3, 3, 4, 2))
    together = jax.jit(jax.vmap(F.conv_transpose, in_axes=(0, None)))(x, kernel)
    alone = jax.jit(lambda x, kernel: [F.conv_transpose(one, kernel) for one in x])(x, kernel)
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=1e-5)
    narrow = F.conv_transpose(x[0].astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(narrow, np.float32), alone[0], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("x", "kernel", "settings", "message"),
    [
        ((2, 5, 5), (3, 3, 1, 1), {}, r"x has shape \(2, 5, 5\)"),
        ((2, 5, 5, 1), (3, 3, 1), {}, r"kernel has shape \(3, 3, 1\), but \[h, w, out, in\]"),
        ((2, 5, 5, 3), (3, 3, 3, 4), {}, "do not fit with groups=1"),
        ((2, 5, 5, 3), (3, 3, 3, 3), {"groups": 2}, "do not fit with groups=2"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"stride": 0}, "conv_transpose: stride is 0"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"padding": "equal"}, 'but "VALID", "SAME", an integer'),
        ((2, 1, 5, 1), (3, 3, 1, 1), {"padding": 2}, "padding 2 leaves nothing of x"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"padding": -1}, "bottom and right also below 0, is wanted"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"padding": ((-1, 0), (0, 0))}, r"padding is \(\(-1, 0\),"),
    ],
)
def test_refuses(x, kernel, settings, message):
    with pytest.raises(ValueError, match=message):
        F.conv_transpose(*(np.ones(shape, np.float32) for shape in (x, kernel)), **settings)
