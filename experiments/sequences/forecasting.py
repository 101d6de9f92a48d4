"""A recurrent network forecasts better than a linear model with weather beside it, hardly alone.

A GRU over a window gives the next values, as what is to be added to a naive forecast (the last
value, or the last season again); so does a ridge regression on the same windows, and both stand
beside the naive forecasts themselves. The origin rolls over the last 15 % of each series, which
nobody has fitted; the networks' epoch and the ridge's penalty are those of the least error on the
15 % before. RMSE is in the units of the series; MASE is the mean absolute error in those of the
seasonal naive forecast one step ahead, over the stretch that is learned (Hyndman and Koehler 2006).

The claims are what held in validation. On few origins that says little: of airline passengers it
has 11, among which the best epoch is one by chance, and the linear model is far ahead on the test.

Lecture C: an LSTM for temporal data.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import data, models, optim, train
from experiments.choice import at_least, one_of
from experiments.frame import Claim, DataConfig, Figure, Result, Table

LECTURE = "lecture C"


class Task(NamedTuple):
    """How a series is forecast: from `window` steps the next `horizon`.

    season: the steps after which the forecast that is corrected repeats, 1: the last value. log:
    whether log(1 + x) of the first column is forecast. stride: every so many windows are learned.
    """

    window: int
    horizon: int
    season: int
    log: bool
    stride: int
    hidden: int
    epochs: int
    batch_size: int


TASKS = {
    "beijing_pm25": Task(48, 24, 1, True, 4, 32, 8, 64),
    "sunspots": Task(132, 12, 1, False, 1, 32, 15, 64),
    "minimum_temperature": Task(30, 7, 1, False, 1, 32, 10, 64),
    "births": Task(28, 7, 7, False, 1, 16, 60, 32),
    "airline_passengers": Task(24, 12, 12, True, 1, 16, 100, 16),
}
CLAIMS = (
    Claim("Beijing's PM2.5, a day ahead: MASE, GRU / linear", "≤ 1", LECTURE),
    Claim("sunspots, a year ahead: MASE, GRU / linear", "≤ 1", LECTURE),
    Claim("minimum temperature, a week ahead: MASE, GRU / linear", "≤ 1", LECTURE),
    Claim("births, a week ahead: MASE, GRU / linear", "> 1", "tried"),
    Claim("airline passengers, a year ahead: MASE, GRU / linear", "≤ 1", LECTURE),
    Claim("MASE of the GRU, all but births: the worst / the better naive one", "≤ 1", LECTURE),
)
PENALTIES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """Which series, and how much is learned."""

    series: tuple[str, ...] = tuple(TASKS)
    """The series that are forecast."""
    epochs: float = 1.0
    """Times the epochs of each series' own setting."""
    seeds: int = 2
    """Each network is trained from so many seeds; errors are means."""
    seed: int = 0
    """The first of them."""

    def __post_init__(self) -> None:
        at_least(1, seeds=self.seeds)
        at_least(0, seed=self.seed, epochs=self.epochs)
        for name in self.series:
            one_of("series", name, TASKS)


SMOKE = Config(series=("airline_passengers",), epochs=0, seeds=1)


class Score(NamedTuple):
    """One method on one series: errors on the test stretch, over all origins and steps ahead.

    by_step: the mean absolute error by the number of steps ahead, as MASE is scaled.
    """

    series: str
    method: str
    mase: float
    rmse: float
    by_step: list[float]


def run(config: Config) -> list[Score]:
    """Forecasts every series by every method."""
    return [score for name in config.series for score in measure(name, config)]


def figures(result: Result[list[Score]]) -> list[float | None]:
    """The network beside the linear model, and the naive ones."""
    mase = {(score.series, score.method): score.mase for score in result.measured}
    known = result.config.series
    ratios = [mase[n, "GRU"] / mase[n, "linear"] if n in known else None for n in TASKS]
    naive = [
        mase[name, "GRU"] / min(mase[name, "naive"], mase.get((name, "seasonal naive"), np.inf))
        for name in known
        if name != "births"
    ]
    return [*ratios, max(naive, default=None)]


def table(result: Result[list[Score]]) -> dict[str, Table]:
    """A line for each method and series."""
    lines = [(s.series, s.method, f"{s.mase:.3f}", f"{s.rmse:.4g}") for s in result.measured]
    return {"Test": [("series", "method", "MASE", "RMSE"), *lines]}


def plot(result: Result[list[Score]]) -> Figure:
    """The error by the number of steps ahead."""
    from dlcore import plot

    panels = []
    for name in result.config.series:
        lines = {
            score.method: (range(1, len(score.by_step) + 1), score.by_step)
            for score in result.measured
            if score.series == name
        }
        title = name.replace("_", " ")
        panels.append(plot.Panel(title, "steps ahead", "absolute error, scaled", lines))
    return plot.lines(*panels)


def measure(name: str, config: Config) -> list[Score]:
    """Every method on one series."""
    task, series = TASKS[name], data.series(name, config.root)
    values = series.values.copy()
    if task.log:
        values[:, 0] = np.log1p(values[:, 0])
    parts = data.forecasting(series._replace(values=values), task.window, task.horizon)
    learned = {key: leaf[:: task.stride] for key, leaf in parts.train.items()}
    step_error = seasonal_step(series, parts.borders[0])

    def score(method: str, *forecasts: np.ndarray) -> Score:
        errors = [error(parts, task, forecast) for forecast in forecasts]
        absolute = [np.nanmean(np.abs(one), axis=0) / step_error for one in errors]
        return Score(
            name,
            method,
            float(np.mean([np.nanmean(np.abs(one)) for one in errors]) / step_error),
            float(np.mean([np.sqrt(np.nanmean(one**2)) for one in errors])),
            np.mean(absolute, axis=0).tolist(),
        )

    x = parts.test["x"]
    scores = [score("naive", naive(x, task.horizon, 1))]
    if series.period <= task.window:
        scores.append(score("seasonal naive", naive(x, task.horizon, series.period)))
    scores.append(score("linear", linear(learned, parts, task)))
    seeds = range(config.seed, config.seed + config.seeds)
    epochs = max(1, round(config.epochs * task.epochs))
    networks = [network(learned, parts, task, epochs, seed) for seed in seeds]
    return [*scores, score("GRU", *networks)]


def seasonal_step(series: data.Series, border: int) -> float:
    """The mean error of the seasonal naive forecast one step ahead, before the border."""
    known = series.values[:border, 0]
    return float(np.nanmean(np.abs(known[series.period :] - known[: -series.period])))


def error(parts: data.Forecasting, task: Task, forecast: np.ndarray) -> np.ndarray:
    """What `forecast` of the test stretch is too much [N, h], NaN where nothing was measured."""
    found, wanted = (data.denormalize(parts.scaling, y) for y in (forecast, parts.test["y"]))
    if task.log:
        found, wanted = np.expm1(found), np.expm1(wanted)
    return np.where(parts.test["weight"] > 0, found - wanted, np.nan)


def naive(x: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The first column of the last season of x [N, W, F], over and over: [N, h]."""
    return x[:, -season:, 0][:, np.arange(horizon) % season]


def linear(learned: dict[str, np.ndarray], parts: data.Forecasting, task: Task) -> np.ndarray:
    """A ridge regression's forecast of the test stretch, with the best penalty in validation.

    It learns from the windows after which everything was measured.
    """
    from sklearn.linear_model import Ridge

    def flat(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)

    def start(x: np.ndarray) -> np.ndarray:
        return naive(x, task.horizon, task.season)

    rows = learned["weight"].all(axis=1)
    x, y = learned["x"][rows], learned["y"][rows]
    fits = [Ridge(alpha, solver="cholesky").fit(flat(x), y - start(x)) for alpha in PENALTIES]
    part = parts.validation

    def loss(fit: Any) -> float:
        absolute = np.abs(fit.predict(flat(part["x"])) + start(part["x"]) - part["y"])
        return float((part["weight"] * absolute).sum())

    test = parts.test["x"]
    return np.asarray(min(fits, key=loss).predict(flat(test)) + start(test))


def network(
    learned: dict[str, np.ndarray],
    parts: data.Forecasting,
    task: Task,
    epochs: int,
    seed: int,
) -> np.ndarray:
    """A GRU's forecast of the test stretch, from its best epoch in validation."""
    layer = models.forecaster(
        learned["x"].shape[-1], task.horizon, task.hidden, kind="gru", period=task.season
    )
    optimizer = optax.chain(optim.clip_by_global_norm(1.0), optim.adam(2e-3))
    best = train.run(
        train.make_step(train.supervised(layer, absolute_error), optimizer),
        train.train_state(layer, optimizer, seed=seed),
        learned,
        epochs=epochs,
        batch_size=task.batch_size,
        validation=parts.validation,
        visible=False,
    ).best
    return train.predict(layer, best.params, best.state, parts.test["x"])


def absolute_error(forecast: jax.Array, y: jax.Array) -> jax.Array:
    """|forecast − y| of each step, [B, h]."""
    return jnp.abs(forecast - y)
