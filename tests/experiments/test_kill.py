"""A run that is killed at any moment, and resumed each time, ends in the same bits."""

from __future__ import annotations

import random
import signal

import pytest

from tests.budget import IN_CI

KILLS = 10 if IN_CI else 3

# It kills itself when it is about to touch its folder for the LAST time that it may.
CHILD = """
import os, signal, sys
import numpy as np
from dlcore import functional as F, nn, optim, train
from dlcore.interop import weights

out, last = sys.argv[1], int(sys.argv[2])
touched = 0

def touch(event, arguments):
    global touched
    if arguments and str(arguments[0]).startswith(out):
        touched += 1
        if touched == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(touch)
rng = np.random.default_rng(0)
labels = np.arange(320, dtype=np.int32) % 4
data = {"x": rng.normal(labels[:, None], 1, (320, 6)).astype(np.float32), "y": labels}
layer = nn.serial(
    nn.linear(6, 16), nn.batch_norm(16), F.relu, nn.dropout(0.3), nn.linear(16, 4)
)
optimizer = optim.adam(1e-2)
result = train.run(
    train.make_step(train.classification(layer), optimizer),
    train.train_state(layer, optimizer, seed=3),
    data,
    epochs=40,
    batch_size=32,
    validation=data,
    out=out,
    resume=True,
    checkpoint_seconds=0,
)
weights.save(out + "/end.safetensors", result.state)
"""


@pytest.mark.slow
def test_kills_change_no_bit(process, tmp_path):
    whole = process("-c", CHILD, tmp_path / "whole", 0)
    chance = random.Random(0)
    for kill in range(KILLS + 1):
        last = chance.randint(5, 150) if kill < KILLS else 0
        child = process("-c", CHILD, tmp_path / "killed", last)
        _, errors = child.communicate()
        assert child.returncode == (-signal.SIGKILL if last else 0), errors
    whole.communicate()
    ends = [(tmp_path / name / "end.safetensors").read_bytes() for name in ("killed", "whole")]
    assert ends[0] == ends[1]
    assert len(ends[0]) > 1000
