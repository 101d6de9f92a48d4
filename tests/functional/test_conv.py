from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples


def arrays(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


STRIDES = [1, 2, (1, 2)]
PADDINGS = ["VALID", "SAME", 1, (2, 0), ((1, 0), (2, 3))]
DILATION_AND_GROUPS = [(1, 1), (2, 1), ((1, 2), 2)]


def flax_padding(padding):
    match padding:
        case int():
            return [(padding, padding)] * 2
        case (int(vertical), int(horizontal)):
            return [(vertical, vertical), (horizontal, horizontal)]
        case _:
            return padding


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dilation", "groups"), DILATION_AND_GROUPS)
def test_equals_flax(stride, padding, dilation, groups, standard_promotion):
    x, kernel = arrays(0, (2, 7, 8, 4), (3, 2, 4 // groups, 6))
    reference = linen.Conv(
        features=6,
        kernel_size=(3, 2),
        strides=stride,
        padding=flax_padding(padding),
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=False,
    )
    expected = reference.apply({"params": {"kernel": kernel}}, x)
    y = F.conv(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, (2, 1)])
@pytest.mark.parametrize(("dilation", "groups"), [(1, 1), (2, 1), (1, 2), (1, 4)])
def test_equals_torch(stride, padding, dilation, groups, torch):
    x, kernel = arrays(1, (2, 9, 8, 4), (3, 2, 4 // groups, 8))
    expected = torch.nn.functional.conv2d(
        torch.tensor(np.transpose(x, (0, 3, 1, 2))),
        torch.tensor(np.transpose(kernel, (3, 2, 0, 1))),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    y = F.conv(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    np.testing.assert_allclose(
        y, np.transpose(expected.numpy(), (0, 2, 3, 1)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("padding", ["SAME", 2, (0, 1)])
def test_padding_mode_is_torchs(mode, padding, torch):
    x, kernel = arrays(5, (2, 6, 7, 2), (3, 4, 2, 3))
    names = {"edge": "replicate", "wrap": "circular"}
    reference = torch.nn.Conv2d(
        2,
        3,
        (3, 4),
        padding="same" if padding == "SAME" else padding,
        padding_mode=names.get(mode, mode),
        bias=False,
    )
    reference.weight.data = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)))
    images = torch.tensor(np.transpose(x, (0, 3, 1, 2)), requires_grad=True)
    expected = reference(images)
    (expected_gradient,) = torch.autograd.grad((expected**2).sum(), images)

    def loss(x):
        y = F.conv(x, kernel, padding=padding, padding_mode=mode)
        return jnp.sum(y**2), y

    gradient, y = jax.grad(loss, has_aux=True)(x)
    for ours, theirs in [(y, expected.detach()), (gradient, expected_gradient)]:
        np.testing.assert_allclose(
            ours, np.transpose(theirs.numpy(), (0, 2, 3, 1)), rtol=1e-4, atol=1e-4
        )


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pad=st.integers(0, 2),
)
@examples(15)
def test_is_the_equation(size, window, stride, dilation, pad):
    """As loops over the output in float64, for any shape whose window fits; refused otherwise."""
    x, kernel = arrays(2, (2, *size, 3), (*window, 3, 2))
    settings = {"stride": stride, "dilation": dilation, "padding": pad}
    padded = np.pad(np.asarray(x, np.float64), [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    reach = [(length - 1) * dilation + 1 for length in window]
    rows, columns = (
        (length - extent) // stride + 1
        for length, extent in zip(padded.shape[1:3], reach, strict=True)
    )
    if min(rows, columns) < 1:
        with pytest.raises(ValueError, match="does not fit into x"):
            F.conv(x, kernel, **settings)
        return
    expected = np.zeros((2, rows, columns, 2))
    for i, j, u, v in np.ndindex(rows, columns, *window):
        pixel = padded[:, i * stride + u * dilation, j * stride + v * dilation]
        expected[:, i, j] += pixel @ np.asarray(kernel[u, v], np.float64)
    np.testing.assert_allclose(F.conv(x, kernel, **settings), expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_stays():
    x, kernel = (array.astype(jnp.bfloat16) for array in arrays(3, (1, 5, 5, 2), (3, 3, 2, 2)))
    y = F.conv(x, kernel)
    assert y.dtype == jnp.bfloat16
    wide = F.conv(x.astype(np.float32), kernel.astype(np.float32))
    np.testing.assert_allclose(np.asarray(y, np.float32), wide, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("x", "kernel", "settings", "message"),
    [
        ((2, 5, 5), (3, 3, 1, 1), {}, r"x has shape \(2, 5, 5\)"),
        ((2, 5, 5, 1), (3, 3, 1), {}, r"kernel has shape \(3, 3, 1\)"),
        ((2, 5, 5, 3), (3, 3, 2, 4), {}, r"do not fit with groups=1"),
        ((2, 5, 5, 4), (3, 3, 2, 3), {"groups": 2}, r"do not fit with groups=2"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"stride": 0}, r"stride is 0, but a positive integer"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"dilation": 1.5}, r"dilation is 1.5"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"padding": "valid"}, "is 'valid': write padding=\"VALID\""),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"padding": -1}, r"padding is -1"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"padding": (1, 2, 3)}, r"padding is \(1, 2, 3\)"),
        ((2, 2, 5, 1), (3, 3, 1, 1), {}, r"a window of 3×3 does not fit into x \(2, 2, 5, 1\)"),
        ((2, 5, 5, 1), (3, 3, 1, 1), {"padding_mode": "same"}, "mode is 'same', but must be one"),
    ],
)
def test_refuses(x, kernel, settings, message):
    with pytest.raises(ValueError, match=message):
        F.conv(np.ones(x, np.float32), np.ones(kernel, np.float32), **settings)


def test_runs_under_vmap_and_jit():
    x, kernel = arrays(4, (3, 2, 5, 5, 2), (3, 3, 2, 4))
    together = jax.jit(jax.vmap(F.conv, in_axes=(0, None)))(x, kernel)
    np.testing.assert_allclose(together, np.stack([F.conv(one, kernel) for one in x]), rtol=1e-5)
