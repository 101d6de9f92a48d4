from __future__ import annotations

import numpy as np
import pytest

from dlcore import data
from experiments.sequences import forecasting
from experiments.sequences.forecasting import Score, Task
from tests.experiments.smoke import holds


def test_errors_are_in_the_units_of_the_series():
    """Of what was forecast as log(1 + x), and of nothing where nothing was measured."""
    values = np.random.default_rng(0).uniform(50, 90, (60, 1)).astype(np.float32)
    values[55] = np.nan
    series = data.Series("drawn", ("a",), values, 7, "drawn here")
    task = Task(5, 3, 1, True, 1, 4, 1, 8)
    parts = data.forecasting(series._replace(values=np.log1p(values)), 5, 3)
    logs = np.full(parts.test["y"].shape, np.log1p(70))
    forecast = (logs - parts.scaling.mean) / parts.scaling.std
    found = forecasting.error(parts, task, forecast.astype(np.float32))
    wanted = [70 - values[start : start + 3, 0] for start in range(51, 58)]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    assert np.isnan(found).sum() == 3
    known = values[:42, 0]
    step = np.mean([abs(known[t] - known[t - 7]) for t in range(7, 42)])
    assert forecasting.seasonal_step(series, 42) == pytest.approx(step, rel=1e-5)


def test_a_linear_series_is_forecast_by_the_linear_model():
    values = np.cumsum(np.ones((80, 1), np.float32), axis=0)
    series = data.Series("drawn", ("a",), values, 7, "drawn here")
    parts = data.forecasting(series, 5, 3)
    task = Task(5, 3, 1, False, 1, 4, 1, 8)
    error = forecasting.error(parts, task, forecasting.linear(parts.train, parts, task))
    naive = forecasting.error(parts, task, forecasting.naive(parts.test["x"], 3, 1))
    np.testing.assert_allclose(naive, [[-1, -2, -3]] * len(naive), rtol=1e-4)
    assert np.abs(error).max() < 0.1


def test_claims_follow_the_measurements():
    def judged(gru, births):
        names = (*forecasting.TASKS,)
        scores = [
            Score(name, method, value, 1.0, [])
            for name in names
            for method, value in (
                ("naive", 1.0),
                ("linear", 0.9),
                ("GRU", births if name == "births" else gru),
            )
        ]
        return holds(forecasting, scores)

    assert all(judged(0.8, 0.95))
    assert not any(judged(1.2, 0.85))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"series": ("birth",)}, "no series is called 'birth', did you mean births"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"epochs": -1.0}, "epochs must be at least 0"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        forecasting.Config(**settings)
