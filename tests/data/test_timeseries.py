from __future__ import annotations

import gzip
import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import data
from dlcore.data import DataError, timeseries
from tests.budget import examples

sizes = st.integers(1, 5)


def drawn(steps, columns, share_missing, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(50, 20, (steps, columns)).astype(np.float32)
    values[rng.random(values.shape) < share_missing] = np.nan
    values[0] = 1.0  # something was measured
    return data.Series("drawn", tuple("abcde"[:columns]), values, 7, "drawn here")


@given(window=sizes, horizon=sizes, columns=st.integers(1, 3), seed=sizes)
@examples(30)
def test_windows_are_what_came_before_and_targets_lie_in_their_stretch(
    window, horizon, columns, seed
):
    series = drawn(60, columns, 0.2, seed)
    parts = data.forecasting(series, window, horizon)
    assert parts.borders == (42, 51)
    stretches = {"train": (window, 42), "validation": (42, 51), "test": (51, 60)}
    known = series.values[:42]
    mean, std = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    filled = (series.values - mean) / std
    for before, row in itertools.pairwise(filled):
        row[np.isnan(row)] = before[np.isnan(row)]
    missing = np.isnan(series.values)
    inputs = np.concatenate([filled, missing[:, missing.any(axis=0)]], axis=1)
    for name, (first, last) in stretches.items():
        part = getattr(parts, name)
        starts = range(first, last - horizon + 1)
        assert {len(one) for one in part.values()} == {len(starts)}
        for row, start in enumerate(starts):
            np.testing.assert_allclose(part["x"][row], inputs[start - window : start], atol=1e-5)
            after = slice(start, start + horizon)
            np.testing.assert_array_equal(part["weight"][row], ~missing[after, 0])
            real = part["weight"][row] > 0
            found = data.denormalize(parts.scaling, part["y"][row])
            np.testing.assert_allclose(found[real], series.values[after, 0][real], rtol=1e-4)
            assert (part["y"][row][~real] == 0).all()


@given(seed=sizes, column=st.integers(0, 1))
@examples(12)
def test_nothing_is_known_of_what_comes_later(seed, column):
    """Other values from the step k on change no window that ends before it, nor the scaling."""
    series = drawn(60, 2, 0.2, seed)
    later = series.values.copy()
    later[45:, column] = np.where(np.isnan(later[45:, column]), np.nan, 1_000)
    parts, others = (data.forecasting(one, 4, 2) for one in (series, series._replace(values=later)))
    for name in ("x", "y", "weight"):
        np.testing.assert_array_equal(parts.train[name], others.train[name])
    np.testing.assert_array_equal(parts.scaling.std, others.scaling.std)
    np.testing.assert_array_equal(parts.validation["x"][:4], others.validation["x"][:4])


def test_a_series_that_was_never_measured_before_the_border():
    series = drawn(60, 2, 0.0, 0)
    series.values[:42, 1] = np.nan
    with pytest.raises(ValueError, match="of drawn no b was measured before the validation"):
        data.forecasting(series, 4, 2)


@pytest.mark.parametrize(
    ("window", "horizon", "message"),
    [
        (50, 2, "drawn has 60 steps in stretches from 0, 42 and 51 on, too few for window=50"),
        (4, 10, "too few for window=4 and horizon=10: give less"),
        (0, 2, "window=0: give a whole number at least 1"),
        (4, 0, "horizon=0: give a whole number at least 1"),
    ],
)
def test_windows_that_do_not_fit(window, horizon, message):
    with pytest.raises(ValueError, match=message):
        data.forecasting(drawn(60, 1, 0.0, 0), window, horizon)


# Files.


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two series of few rows, one of them gzipped."""
    shampoo = b'"Month","Sales"\r\n"1-01",266.0\r\n"1-02",145.9\r\n'
    pollution = (
        b"No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,cbwd,Iws,Is,Ir\r\n"
        b"1,2010,1,1,0,NA,-21,-11,1021,NW,1.79,0,0\r\n"
        b"2,2010,1,1,1,129,-16,-4,1020,cv,2.5,1,2\r\n"
    )
    for name, content in (("shampoo", shampoo), ("beijing_pm25", pollution)):
        digest = hashlib.sha256(content).hexdigest()
        file = timeseries._FILES[name]._replace(sha256=digest, rows=2)
        monkeypatch.setitem(timeseries._FILES, name, file)
    monkeypatch.setattr(timeseries, "MIRRORS", ("http://127.0.0.1:0/",))
    (tmp_path / "shampoo.csv").write_bytes(shampoo)
    (tmp_path / "pollution.csv.gz").write_bytes(gzip.compress(pollution))
    return tmp_path


def test_the_columns_of_a_file(files):
    shampoo = data.series("shampoo", files)
    assert shampoo.columns == ("Sales",)
    np.testing.assert_array_equal(shampoo.values, np.float32([[266.0], [145.9]]))
    pollution = data.series("beijing_pm25", files)
    assert pollution.columns[0] == "pm2.5"
    assert pollution.columns[-4:] == ("cv", "NE", "NW", "SE")
    np.testing.assert_array_equal(
        pollution.values,
        np.float32(
            [
                [np.nan, -21, -11, 1021, 1.79, 0, 0, 0, 0, 1, 0],
                [129, -16, -4, 1020, 2.5, 1, 2, 1, 0, 0, 0],
            ]
        ),
    )


def test_a_series_is_downloaded_once(files, server, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch.get_logger(), "handlers", [])
    monkeypatch.setattr(timeseries, "MIRRORS", (server.url,))
    server.files = {"shampoo.csv": (files / "shampoo.csv").read_bytes()}
    for _ in range(2):
        np.testing.assert_array_equal(
            data.series("shampoo").values, data.series("shampoo", files).values
        )
    assert len(server.asked) == 1


def test_files_that_are_not_there_or_others(files, cache):
    with pytest.raises(DataError, match=r"births\.csv is neither in root nor in"):
        data.series("births", files)
    (files / "shampoo.csv").write_bytes(b'"Month","Sales"\r\n"1-01",266.0\r\n"1-02",145.8\r\n')
    with pytest.raises(DataError, match=r"the content is not shampoo\.csv"):
        data.series("shampoo", files)
    with pytest.raises(ValueError, match="no time series is called 'sunspot', did you mean 'suns"):
        data.series("sunspot", files)


def test_real_series(shared_data):
    found = {name: data.series(name, shared_data) for name in timeseries.SERIES}
    assert {name: one.values.shape for name, one in found.items()} == {
        "airline_passengers": (144, 1),
        "beijing_pm25": (43_824, 11),
        "births": (365, 1),
        "minimum_temperature": (3_650, 1),
        "shampoo": (36, 1),
        "sunspots": (2_820, 1),
    }
    assert [int(np.isnan(one.values).sum()) for one in found.values()] == [0, 2_067, 0, 0, 0, 0]
    assert found["airline_passengers"].values[[0, -1], 0].tolist() == [112, 432]
    winds = found["beijing_pm25"].values[:, -4:]
    assert (winds.sum(axis=1) == 1).all()
