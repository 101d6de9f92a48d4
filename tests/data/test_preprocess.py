from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import data


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (5, 11), (1, 3), (40, 17)])
@pytest.mark.parametrize("size", [1, 8, 28])
def test_resize_is_jaxs_bilinear(height, width, size):
    images = np.random.default_rng(0).random((3, height, width, 2), np.float32)
    resized = data.resize(images, size)
    assert resized.dtype == np.float32
    expected = jax.image.resize(images, (3, size, size, 2), "bilinear")
    np.testing.assert_allclose(resized, expected, atol=2e-6)


def test_resize_keeps_a_constant_and_the_range():
    ones = np.ones((1, 7, 9, 1), np.float32)
    np.testing.assert_array_equal(data.resize(ones, 28), np.ones((1, 28, 28, 1)))
    images = (np.random.default_rng(0).random((50, 8, 8, 1)) > 0.2).astype(np.float32)
    assert data.resize(images, 27).max() <= 1


def test_resize_names_the_axes_it_wants():
    with pytest.raises(ValueError, match=r"images \[N, H, W, C\], got \[8, 8\]"):
        data.resize(np.zeros((8, 8), np.float32), 28)


@pytest.mark.parametrize("shape", [(9_000, 3, 2, 3), (10, 4), (1, 5, 5, 1)])
def test_mean_and_std(shape):
    x = np.random.default_rng(0).normal(100, 3, shape).astype(np.float32)
    wide = x.astype(np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, std = data.mean_and_std(x)
    assert mean.shape == std.shape == shape[-1:]
    np.testing.assert_allclose(mean, wide.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(std, np.where(wide.std(axes) > 0, wide.std(axes), 1), rtol=1e-5)
    mean, std = data.mean_and_std(x, per_channel=False)
    assert mean.shape == std.shape == ()
    np.testing.assert_allclose([mean, std], [wide.mean(), wide.std()], rtol=1e-5)


def test_a_constant_channel_becomes_zero():
    x = np.stack([np.full(6, 0.1), np.arange(6)], axis=1).astype(np.float32)
    mean, std = data.mean_and_std(x)
    assert std[0] == 1
    np.testing.assert_array_equal(((x - mean) / std)[:, 0], np.zeros(6))


@pytest.mark.parametrize("shape", [(0, 3), (5,), ()])
def test_no_examples(shape):
    with pytest.raises(ValueError, match="with examples"):
        data.mean_and_std(np.zeros(shape, np.float32))
