from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import nn
from experiments.sequences import long_memory
from tests.experiments.smoke import holds


def test_the_gradient_on_its_way_back_through_an_rnn():
    """vₜ₋₁ = vₜ · diag(1 − hₜ²) · Kᵀ, in NumPy, from the same v."""
    cell = nn.rnn_cell(3, 4)
    params, _ = cell.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    symbols, table = rng.integers(0, 6, (2, 5)), rng.normal(size=(6, 3)).astype(np.float32)
    copier = {"symbols": {"embedding": table}, "recurrent": params}
    (found,) = long_memory.gradient_lengths(cell, [copier], symbols, seed=1)
    x = table[symbols]
    hs = [np.zeros((2, 4))]
    for t in range(5):
        hs.append(np.tanh(x[:, t] @ params["kernel"] + hs[-1] @ params["recurrent_kernel"]))
    v = long_memory.direction(jax.random.key(1), nn.memory(cell, 2))["memory"]["h"]
    wanted = [np.ones(2)]
    for h in hs[:0:-1]:
        v = (v * (1 - h**2)) @ np.asarray(params["recurrent_kernel"]).T
        wanted.append(np.linalg.norm(v, axis=1))
    np.testing.assert_allclose(found, np.median(wanted, axis=1), rtol=1e-5)


def test_claims_follow_the_measurements():
    flat, gone = [1.0] * 40, [1e-4] * 40
    rnn = long_memory.Network("RNN", 1, [1.0, 0.13], 0.16, gone, gone)
    lstm = long_memory.Network("LSTM", 1, [1.0, 0.995], 1e-3, gone, flat)
    gru = lstm._replace(kind="GRU")
    assert all(holds(long_memory, [rnn, lstm, gru]))
    forgot = lstm._replace(recalled=[1.0, 0.9], squared_error=0.1, after=gone)
    kept = rnn._replace(recalled=[0.9, 0.5], squared_error=0.01)
    assert not any(holds(long_memory, [kept, forgot, forgot]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delays": (30, 5)}, "delays are rising numbers"),
        ({"delays": (0, 5)}, "delays must be at least 1"),
        ({"length": 1}, "length must be at least 2"),
        ({"copying_updates": 0}, "copying_updates must be at least 1"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        long_memory.Config(**settings)
