"""Time series: what was measured step after step, and windows of it that keep to the order of time.

airline = data.series("airline_passengers")
parts = data.forecasting(airline, window=24, horizon=12)    # parts.train, .validation, .test
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.data import files
from dlcore.data.dataset import Arrays, check_count, unknown
from dlcore.data.preprocess import Normalization, mean_and_std, normalize
from dlcore.fields import documented

SOURCE = "https://github.com/jbrownlee/Datasets"
COMMIT = "d20fcb6402ae34e653d4513b00f39257bb37ed7f"
MIRRORS = (f"https://raw.githubusercontent.com/jbrownlee/Datasets/{COMMIT}/",)
_BYTES = 1 << 21  # the longest file has 2,010,492


@documented
class Series(NamedTuple):
    """What was measured, one row a step; the first column is what is to be forecast.

    name: what it is called.
    columns: the names of the columns.
    values: float32 [T, C], NaN where nothing was measured.
    period: the steps of a season, after which it is expected to repeat.
    description: what it is and where it is from, in words.
    """

    name: str
    columns: tuple[str, ...]
    values: np.ndarray
    period: int
    description: str


@documented
class Forecasting(NamedTuple):
    """Windows of a series and what came after each, in three stretches of time.

    train, validation, test: {"x": windows float32 [N, W, F], "y": the next values float32 [N, h] of
        the first column, "weight": float32 [N, h], 0 where nothing was measured}, all scaled.
    scaling: of x's first column and of y, fitted before the validation stretch: one mean, one
        deviation.
    borders: the steps at which the validation and the test stretch begin.
    """

    train: Arrays
    validation: Arrays
    test: Arrays
    scaling: Normalization
    borders: tuple[int, int]


@documented
class _File(NamedTuple):
    """A file of the repository: its name, the SHA-256 of its content, its rows and its period."""

    name: str
    sha256: str
    rows: int
    period: int
    what: str


_FILES = {
    "airline_passengers": _File(
        "airline-passengers.csv",
        "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621",
        144,
        12,
        "passengers of international airlines in thousands, monthly, 1949 to 1960 "
        "(Box and Jenkins 1976)",
    ),
    "beijing_pm25": _File(
        "pollution.csv",
        "892e9559205d16d32623135c127a3951c12e46ea1e0b3093e107ce89a9fd60e2",
        43_824,
        24,
        "PM2.5 at the US embassy in Beijing in µg/m³ and weather, hourly, 2010 to 2014, 2,067 "
        "hours not measured (Liang et al. 2015; UCI, CC BY 4.0)",
    ),
    "births": _File(
        "daily-total-female-births.csv",
        "7a0c1bdb32d68f7fa359e561a4f7e1fe8fb2fc26a1ea624a434a97a63735dd72",
        365,
        7,
        "female births in California, daily, 1959 (Newton 1988)",
    ),
    "minimum_temperature": _File(
        "daily-min-temperatures.csv",
        "8b9de63ed6789492bf497625e7f9beb96a63d367b4b0a21754006f749fa5e5da",
        3_650,
        365,
        "minimum temperature in Melbourne in °C, daily, 1981 to 1990, where leap years lack their "
        "last day (Australian Bureau of Meteorology)",
    ),
    "shampoo": _File(
        "shampoo.csv",
        "f709eaa344b2d07039a49e2193cbff5e56206354f3a8203c0e02471beb39a451",
        36,
        12,
        "sales of shampoo, monthly, three years (Makridakis, Wheelwright and Hyndman 1998)",
    ),
    "sunspots": _File(
        "monthly-sunspots.csv",
        "c4ec8cc57d9f6fb6ecdb3e1f37f25b6f4badd5124c55931052b0cd2fc3bc71f3",
        2_820,
        132,
        "sunspots seen from Zürich, monthly, 1749 to 1983 (Andrews and Herzberg 1985); the period "
        "of about eleven years is none of the calendar",
    ),
}
SERIES = tuple(_FILES)
_WINDS = ("cv", "NE", "NW", "SE")  # calm and variable, and three directions


def series(name: str, root: files.Root = None) -> Series:
    """The time series called `name`, one of `timeseries.SERIES`.

    airline_passengers, births, minimum_temperature, shampoo and sunspots have one column.
    beijing_pm25 has the concentration, dew point, temperature, pressure, wind speed, hours of snow
    and of rain (these three summed up until then) and four columns of 0 and 1 for the wind's
    direction. Looked for in `root/timeseries`, `root/data/timeseries` and `root`, then in the
    user's cache, gzipped or not, and otherwise downloaded there; checked by SHA-256.

    Raises ValueError for an unknown name, DataError for a missing or damaged file.
    """
    if name not in _FILES:
        raise ValueError(unknown("time series", name, SERIES))
    file = _FILES[name]
    path, content = _read(file, root)
    files.check_content(path, content, file.sha256, file.name)
    rows = list(csv.reader(content.decode().splitlines()))
    columns, values = (_pollution if name == "beijing_pm25" else _plain)(rows[0], rows[1:])
    assert len(values) == file.rows
    told = f"{file.what}. From {SOURCE}, which states no licence."
    return Series(name, columns, values.astype(np.float32), file.period, told)


def forecasting(
    series: Series,
    window: int,
    horizon: int,
    *,
    validation: float = 0.15,
    test: float = 0.15,
) -> Forecasting:
    """Every window of W = `window` steps with the `horizon` h values that follow, by time.

    `test` is the share of steps at the end, `validation` that before it. What is to be forecast
    lies in its split as a whole; the windows of validation and test reach back into what came
    before, which is known by then. A value that was not measured is the last one before it (the
    mean, where there is none), never a later one, and a column that has such gets another, 1 where
    it was not measured: F is C and the number of these. Everything is scaled by mean and deviation
    of what was measured before the validation stretch.

    Raises ValueError where a split would have no window.
    """
    check_count("window", window, 1)
    check_count("horizon", horizon, 1)
    total = len(series.values)
    borders = round(total * (1 - validation - test)), round(total * (1 - test))
    stretches = [(window, borders[0]), borders, (borders[1], total)]
    if any(last - first < horizon or first < window for first, last in stretches):
        raise ValueError(
            f"forecasting: {series.name} has {total} steps in stretches from 0, {borders[0]} and "
            f"{borders[1]} on, too few for window={window} and horizon={horizon}: give less"
        )
    missing = np.isnan(series.values)
    known = series.values[: borders[0]]
    scalings = [
        mean_and_std(_measured(series, *one), per="all")
        for one in zip(series.columns, known.T, strict=True)
    ]
    scaled = np.stack(list(map(normalize, scalings, series.values.T)))
    inputs = np.concatenate([filled_forward(scaled.T), missing[:, missing.any(axis=0)]], axis=1)

    def split(first: int, last: int) -> Arrays:
        """The windows whose forecasts begin at first, …, last − horizon."""
        starts = np.arange(first, last - horizon + 1)[:, None]
        after = starts + np.arange(horizon)
        return {
            "x": inputs[starts + np.arange(-window, 0)].astype(np.float32),
            "y": np.where(missing[after, 0], 0, scaled[0, after]).astype(np.float32),
            "weight": (~missing[after, 0]).astype(np.float32),
        }

    train, validate, tested = (split(*one) for one in stretches)
    return Forecasting(train, validate, tested, scalings[0], borders)


def filled_forward(values: np.ndarray) -> np.ndarray:
    """values [T, C] with the last number before it for each NaN, and 0 where there is none."""
    steps = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, steps), axis=0)
    found = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last < 0, 0, found)


def _measured(series: Series, column: str, values: np.ndarray) -> np.ndarray:
    measured = values[~np.isnan(values)]
    if not len(measured):
        raise ValueError(
            f"forecasting: of {series.name} no {column} was measured before the validation stretch"
        )
    return measured[:, None]


def _read(file: _File, root: files.Root) -> tuple[Path, bytes]:
    folders = files.folders("timeseries", root)
    for name in (file.name, f"{file.name}.gz"):
        path = files.find(name, folders)
        if path is not None:
            read = files.unpack if path.suffix == ".gz" else files.read
            return path, read(path, _BYTES)
    path = files.download("timeseries", file.name, file.sha256, MIRRORS)
    return path, files.read(path, _BYTES)


def _plain(header: list[str], rows: list[list[str]]) -> tuple[tuple[str, ...], np.ndarray]:
    """The one column beside that of the time."""
    return (header[1],), np.array([[float(row[1])] for row in rows])


def _pollution(header: list[str], rows: list[list[str]]) -> tuple[tuple[str, ...], np.ndarray]:
    """From pm2.5 on, where NA is not measured; cbwd, the wind, comes last."""
    wind = header.index("cbwd")
    numbers = [place for place in range(header.index("pm2.5"), len(header)) if place != wind]
    values = [
        [float("nan" if row[k] == "NA" else row[k]) for k in numbers]
        + [float(row[wind] == one) for one in _WINDS]
        for row in rows
    ]
    return (*(header[k] for k in numbers), *_WINDS), np.array(values)
