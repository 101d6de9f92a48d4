"""What a person sees of an error: their own lines, and the message."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import jax
import numpy as np
import pytest

import dlcore
from dlcore import functional as F
from dlcore import nn, optim, train

LAYER = nn.serial(nn.conv(3, 4, 3), F.relu, nn.global_avg_pool, nn.linear(4, 3))
OPTIMIZER = optim.sgd(0.1)
IMAGES = {"x": np.ones((8, 3, 9, 9), np.float32), "y": np.zeros(8, np.int32)}


def of_mine(outputs, labels):
    return F.squared_error(outputs, labels[:, None, None], reduction="none")


def objective():
    return train.supervised(nn.linear(3, 1), of_mine)


def fitted(how=lambda step: step, loss=None, optimizer=OPTIMIZER):
    step = how(train.make_step(loss or train.classification(LAYER), OPTIMIZER))
    return list(
        train.fit(step, train.train_state(LAYER, optimizer), IMAGES, epochs=1, batch_size=4)
    )


CALLS = {
    "fit": fitted,
    "run": lambda: train.run(
        train.make_step(train.classification(LAYER), OPTIMIZER),
        train.train_state(LAYER, OPTIMIZER),
        IMAGES,
        epochs=1,
        batch_size=4,
    ),
    "evaluate": lambda: train.evaluate(train.classification(LAYER), *start(), IMAGES),
    "predict": lambda: train.predict(LAYER, *start(), IMAGES["x"]),
    "apply": lambda: LAYER.apply(*start(), IMAGES["x"]),
    "jit": lambda: jax.jit(LAYER.apply)(*start(), IMAGES["x"]),
}


def start():
    return LAYER.init(jax.random.key(0))


@pytest.fixture
def filtered():
    """As a user has it; the suite's own choice shows all frames."""
    before = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "remove_frames")
    yield
    jax.config.update("jax_traceback_filtering", before)


def files(error):
    return {Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)}


@pytest.mark.parametrize("call", CALLS)
def test_no_frame_of_the_library_is_shown(filtered, call):
    with pytest.raises(ValueError, match=r"x\.transpose") as caught:
        CALLS[call]()
    assert files(caught.value) == {Path(__file__)}
    assert any("conv1 (conv)" in note for note in caught.value.__notes__)


def test_the_users_own_frames_stay(filtered):
    params, state = nn.linear(3, 1).init(jax.random.key(0))
    data = {"x": np.ones((4, 3), np.float32), "y": np.ones(4, np.float32)}
    with pytest.raises(ValueError, match="squared_error") as caught:
        train.evaluate(objective(), params, state, data)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "of_mine" in names


def test_a_loop_that_is_left_ends_in_silence():
    """Also where Python ends before it does."""
    program = """
import numpy as np
from dlcore import nn, optim, train
layer = nn.linear(1, 1)
step = train.make_step(train.regression(layer), optim.sgd(0.1))
data = {"x": np.ones((4, 1), np.float32), "y": np.ones((4, 1), np.float32)}
state = train.train_state(layer, step.optimizer, seed=0)
records = iter(train.fit(step, state, data, epochs=2, batch_size=4))
print(next(records).step)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_all_frames_are_there_where_jax_shows_its_own():
    with pytest.raises(ValueError, match="expected") as caught:
        CALLS["apply"]()
    assert any(path.is_relative_to(Path(dlcore.__file__).parent) for path in files(caught.value))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"how": jax.jit}, r"the step is under jax\.jit, jax\.vmap"),
        ({"how": jax.vmap}, r"the step is under jax\.jit, jax\.vmap"),
        ({"optimizer": optim.adam(1e-3)}, r"another optimizer than the step's: 0/count should be"),
        ({}, r"x\.transpose\(0, 2, 3, 1\)"),
    ],
)
def test_what_does_not_belong_together_is_said_before_the_first_step(how, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fitted(**how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"num_epochs": 3},
            r"fit has no num_epochs: write train\.fit\(step, state, data, epochs=3\)",
        ),
        ({"epoch": 3}, r"fit has no epoch: write train\.fit\(step, state, data, epochs=3\)"),
        ({}, r"fit needs epochs: write train\.fit\(step, state, data, epochs=…\)"),
    ],
)
def test_a_loop_called_as_elsewhere_is_told_how_to_be(how, message):
    step = train.make_step(train.classification(LAYER), OPTIMIZER)
    with pytest.raises(TypeError, match=message):
        train.fit(step, train.train_state(LAYER, OPTIMIZER), IMAGES, **how)
