from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import nn

B, T, FEATURES = 2, 5, 4
X = np.random.default_rng(0).normal(size=(B, T, FEATURES)).astype(np.float32)
LEARNED = nn.position(8, FEATURES)
PARAMS, _ = LEARNED.init(jax.random.key(0))
TABLE = np.asarray(PARAMS["embedding"])
WAVES = nn.sinusoidal(FEATURES)
MASK = np.array([[False, False, True, True, True], [True, False, True, True, False]])
PLACES = np.array([[0, 0, 0, 1, 2], [0, 0, 1, 2, 2]])  # of the real ones


def test_each_place_has_its_vector():
    y, _ = LEARNED.apply(PARAMS, (), X)
    np.testing.assert_allclose(y, X + TABLE[:T], rtol=1e-6)
    y, _ = WAVES.apply((), (), X)
    np.testing.assert_allclose(y, X + np.asarray(F.sinusoidal(np.arange(T), FEATURES)), rtol=1e-6)


def test_places_count_the_real_steps_alone():
    waves = np.asarray(F.sinusoidal(np.arange(T), FEATURES))
    for layer, params, table in ((LEARNED, PARAMS, TABLE), (WAVES, (), waves)):
        y, _ = layer.apply(params, (), X, mask=MASK)
        np.testing.assert_allclose(np.asarray(y)[MASK], (X + table[PLACES])[MASK], rtol=1e-6)


def test_a_memory_counts_on():
    for layer, params in ((LEARNED, PARAMS), (WAVES, ())):
        whole, _ = layer.apply(params, (), X)
        first, state = layer.apply(params, nn.memory(layer, B), X[:, :2])
        second, state = layer.apply(params, state, X[:, 2:])
        np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=1e-6)
        np.testing.assert_array_equal(state["memory"]["at"], [T, T])


def test_what_is_too_long_is_refused_and_in_a_program_marked():
    _, state = LEARNED.apply(PARAMS, nn.memory(LEARNED, B), X)
    with pytest.raises(ValueError, match="position is made for 8 steps, got 5 after 5 that it has"):
        LEARNED.apply(PARAMS, state, X)
    y, _ = jax.jit(LEARNED.apply)(PARAMS, state, X)
    np.testing.assert_array_equal(np.isnan(y).any(-1), [[False] * 3 + [True] * 2] * B)
    with pytest.raises(ValueError, match="made for 8 steps, got 9"):
        LEARNED.apply(PARAMS, (), np.ones((1, 9, FEATURES), np.float32))
    with pytest.raises(
        ValueError, match=r"sinusoidal expected \[B, T, 4\], got float32\[2, 5, 3\]"
    ):
        WAVES.apply((), (), X[..., :3])
    with pytest.raises(ValueError, match="even is wanted"):
        nn.sinusoidal(3)
