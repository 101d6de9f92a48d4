from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import nn

PLACES = np.array([[0, 1, 7], [3, 100, 999]])


def test_sinusoidal_is_the_papers_formula():
    y = np.asarray(F.sinusoidal(PLACES, 6))
    for index in np.ndindex(2, 3):
        for i in range(3):
            angle = PLACES[index] / 10_000 ** (2 * i / 6)
            wanted = np.sin(angle), np.cos(angle)
            np.testing.assert_allclose(y[index][2 * i : 2 * i + 2], wanted, atol=1e-4)


def test_rotary_turns_each_pair_as_a_complex_number():
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    angles = PLACES[..., None] * 10_000.0 ** (-np.arange(4) / 4)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)
    wanted = np.concatenate([turned.real, turned.imag], -1)
    np.testing.assert_allclose(F.rotary(x, PLACES), wanted, atol=5e-4)


def test_products_of_what_is_turned_depend_on_the_distance_alone():
    rng = np.random.default_rng(1)
    query, key = (rng.normal(size=(1, 8)).astype(np.float32) for _ in range(2))

    @jax.jit
    def product(t, s):
        return jnp.sum(F.rotary(query, t[None], base=100.0) * F.rotary(key, s[None], base=100.0))

    for distance in (0, 2, 5):
        found = [float(product(jnp.int32(s + distance), jnp.int32(s))) for s in (0, 3, 40)]
        np.testing.assert_allclose(found, found[0], rtol=1e-4)


def test_keeps_the_dtype_and_refuses_an_odd_number():
    assert F.rotary(jnp.ones((2, 4), jnp.bfloat16), jnp.arange(2)).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="rotary turns pairs of features, but there are 3"):
        F.rotary(np.ones((2, 3), np.float32), np.arange(2))
    with pytest.raises(ValueError, match="sinusoidal turns pairs"):
        F.sinusoidal(np.arange(2), 5)


@pytest.mark.parametrize("base", [0, -1, 1.0, float("inf"), float("nan")])
def test_a_base_that_gives_no_waves_is_refused(base):
    with pytest.raises(ValueError, match=r"sinusoidal: base is .*, but above 1 is wanted: 10_000"):
        F.sinusoidal([0, 1], 4, base=base)
    with pytest.raises(ValueError, match="sinusoidal: base is"):
        nn.sinusoidal(4, base=base)


@pytest.mark.parametrize("places", [[0, 1], [[0, 1, 2]] * 3, [[[0, 1, 2]]]])
def test_places_of_another_sequence_are_refused(places):
    x = np.ones((2, 3, 4), np.float32)
    with pytest.raises(
        ValueError, match=r"of x \(2, 3, 4\) are not its \[..., T\]: jnp.arange\(3\)"
    ):
        F.rotary(x, places)
