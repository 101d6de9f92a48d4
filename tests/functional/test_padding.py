from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F

X = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
NUMPYS = {"zeros": "constant"}
TORCHS = {"zeros": "constant", "edge": "replicate", "wrap": "circular"}


MODES = ["zeros", "reflect", "edge", "wrap"]
PADDINGS = [0, 3, (1, 2), ((0, 3), (4, 1))]


def both_axes(padding):
    return np.broadcast_to(
        np.reshape(padding, (-1, 1)) if np.ndim(padding) < 2 else padding, (2, 2)
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_equals_numpy(mode, padding):
    expected = np.pad(X, [(0, 0), *both_axes(padding), (0, 0)], mode=NUMPYS.get(mode, mode))
    np.testing.assert_array_equal(F.pad(X, padding, mode), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_equals_torch(mode, padding, torch):
    rows, columns = both_axes(padding)
    expected = torch.nn.functional.pad(
        torch.tensor(np.transpose(X, (0, 3, 1, 2))),
        (*columns, *rows),
        mode=TORCHS.get(mode, mode),
    )
    y = F.pad(X, padding, mode)
    np.testing.assert_array_equal(y, np.transpose(expected.numpy(), (0, 2, 3, 1)))


@pytest.mark.parametrize("value", [-np.inf, 7, np.float32(0.5)])
def test_a_value_equals_numpys(value):
    expected = np.pad(X, [(0, 0), (0, 3), (4, 1), (0, 0)], constant_values=value)
    padded = F.pad(X, ((0, 3), (4, 1)), value=value)
    np.testing.assert_array_equal(padded, expected)
    narrow = F.pad(X.astype(jnp.bfloat16), 1, value=value)
    assert (narrow.dtype, float(narrow[0, 0, 0, 0])) == (jnp.bfloat16, value)


def test_a_value_may_be_learned_and_fits_whole_numbers():
    by_value = jax.jit(jax.grad(lambda value: jnp.sum(F.pad(X, (0, 1), value=value))))(2.0)
    assert by_value == 2 * 4 * 2 * 3
    bytes_ = np.ones((1, 1, 1, 1), np.uint8)
    assert F.pad(bytes_, 1, value=255)[0, 0].ravel().tolist() == [255, 255, 255]
    for value in (0.5, -1, 256, np.ones(2)):
        with pytest.raises(ValueError, match=r"pad: value is .*, but one number of uint8 is w"):
            F.pad(bytes_, 1, value=value)


def test_a_value_equals_torch(torch):
    images = torch.tensor(np.transpose(X, (0, 3, 1, 2)))
    expected = torch.nn.functional.pad(images, (4, 1, 0, 3), value=-2.5).numpy()
    padded = F.pad(X, ((0, 3), (4, 1)), value=-2.5)
    np.testing.assert_array_equal(padded, np.transpose(expected, (0, 2, 3, 1)))


def test_what_is_repeated_collects_the_gradient():
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(F.pad(x, (0, 1), "edge"))))
    assert gradient(np.ones((1, 1, 3, 1), np.float32)).ravel().tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("padding", "message"),
    [
        (4, r"padding \(\(4, 4\), \(4, 4\)\) is more than x \(2, 4, 5, 3\) can reflect: "),
        (((0, 4), (0, 0)), "at most H − 1 = 3 rows"),
        ((0, 5), "W − 1 = 4 columns"),
    ],
)
def test_refuses_to_reflect_more_than_there_is(padding, message):
    with pytest.raises(ValueError, match=message):
        F.pad(X, padding, "reflect")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (functools.partial(F.pad, X[0], 1), r"pad: x has shape \(4, 5, 3\), but \[B, H, W, C\]"),
        (functools.partial(F.pad, X, -1), r"pad: padding is -1, but \"VALID\", an integer"),
        (functools.partial(F.pad, X, "SAME"), "pad: padding is 'SAME'"),
        (functools.partial(F.pad, X, 1, "mirror"), "mode is 'mirror', but must be one of"),
        (
            functools.partial(F.pad, X, 1, "edge", value=0),
            "value is 0, but 'edge' adds what is in x: pad",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
