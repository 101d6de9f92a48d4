"""Grey digits as black and white ones."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import data
from dlcore.data import DataError, augment


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_each_way_does_what_it_says(digits):
    bits = {0.0, 1.0}
    dynamic, fixed, threshold, grey = (
        data.binarised(digits, how) for how in ("dynamic", "fixed", "threshold", "grey")
    )
    assert dynamic.name == "digits, dynamic binarisation"
    assert (threshold.name, grey.name) == ("digits, threshold binarisation", "digits, grey")
    assert dynamic.train["x"] is digits.train["x"]
    assert grey.test["x"] is digits.test["x"]
    for part in (dynamic.test, dynamic.validation, fixed.train, fixed.test, threshold.train):
        assert set(np.unique(part["x"])) == bits
    np.testing.assert_array_equal(dynamic.test["x"], fixed.test["x"])
    np.testing.assert_array_equal(threshold.train["x"], digits.train["x"] > 0.5)
    # Drawn with the grey value as the probability.
    drawn, p = fixed.train["x"], digits.train["x"]
    error = np.sqrt((p * (1 - p)).sum())
    assert abs((drawn - p).sum()) < 4 * error
    assert (drawn[p == 0] == 0).all()
    assert (drawn[p == 1] == 1).all()
    assert "fixed binarisation, seed 0" in fixed.description
    other = data.binarised(digits, "fixed", seed=1)
    assert (other.train["x"] != drawn).any()
    np.testing.assert_array_equal(data.binarised(digits, "fixed").train["x"], drawn)


def test_refuses(digits):
    with pytest.raises(ValueError, match="how is 'static', but must be one of"):
        data.binarised(digits, "static")
    normal = data.transform(digits, lambda x: 2 * x - 1)
    with pytest.raises(DataError, match=r"lies in \[-1, 1\], but grey values in \[0, 1\]"):
        data.binarised(normal, "fixed")


def test_corruptions_are_of_every_number_by_itself(digits):
    x = digits.train["x"][:400]

    @jax.jit
    def drawn(key, x):
        keys = jax.random.split(key, 3)
        binary = augment.binarise(keys[0], {"x": x, "y": x[:, 0, 0]})
        return binary, augment.masking(0.25)(keys[1], x), augment.noise(0.5)(keys[2], x)

    binary, masked, noisy = jax.device_get(drawn(jax.random.key(0), x))
    assert set(np.unique(binary["x"])) == {0.0, 1.0}
    assert "y" in binary
    np.testing.assert_allclose(binary["x"].mean(), x.mean(), atol=0.01)
    np.testing.assert_allclose((masked[x > 0] == 0).mean(), 0.25, atol=0.02)
    assert ((masked == 0) | (masked == x)).all()
    np.testing.assert_allclose((noisy - x).std(), 0.5, rtol=0.02)
    again = jax.device_get(drawn(jax.random.key(1), x))[0]
    assert (again["x"] != binary["x"]).any()
    assert np.isnan(jax.jit(augment.binarise)(jax.random.key(2), {"x": np.float32([3])})["x"])
    with pytest.raises(TypeError, match="binarise takes a batch"):
        augment.binarise(jax.random.key(2), x)
    with pytest.raises(TypeError, match=r"augment.inputs\(augment.masking\(share\)\)"):
        augment.masking(0.5)(jax.random.key(2), {"x": x})
    with pytest.raises(ValueError, match=r"share is 1\.5, but 0 ≤ share ≤ 1"):
        augment.masking(1.5)
    with pytest.raises(ValueError, match="std is -1"):
        augment.noise(-1)
