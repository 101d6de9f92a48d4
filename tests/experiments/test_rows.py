from __future__ import annotations

import numpy as np
import pytest

from experiments.sequences import rows
from tests.experiments.smoke import drawn, holds


def test_other_orders_move_the_same_pixels_in_every_image():
    examples = drawn("mnist").train
    steps = {order: rows.as_steps(examples, order, seed=3) for order in rows.ORDERS}
    x = examples["x"][..., 0]
    np.testing.assert_array_equal(steps["in order"]["x"], x)
    assert (steps["in order"]["y"] == examples["y"][:, None]).all()
    moved = steps["rows moved"]["x"]
    places = [int(np.flatnonzero((x[0] == row).all(axis=1))[0]) for row in moved[0]]
    assert sorted(places) == list(range(28)) != places
    np.testing.assert_array_equal(moved, x[:, places])
    pixels = steps["all pixels moved"]["x"].reshape(len(x), -1)
    order = np.argsort(x[0].ravel())[np.argsort(np.argsort(pixels[0]))]
    np.testing.assert_array_equal(pixels, x.reshape(len(x), -1)[:, order])
    assert (order // 28 != np.arange(784) // 28).mean() > 0.9


def test_claims_follow_the_measurements():
    def measured(lstm, rnn, moved):
        in_order = {"RNN": [rnn] * 28, "LSTM": [0.1] * 15 + [lstm] * 13, "GRU": [lstm] * 28}
        return rows.Measured(
            0.9, {"in order": in_order, "all pixels moved": {"LSTM": [moved] * 28}}
        )

    assert all(holds(rows, measured(0.97, 0.95, 0.9)))
    assert not any(holds(rows, measured(0.89, 0.95, 0.95)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_images": 9}, "train_images must be at least 10"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        rows.Config(**settings)
