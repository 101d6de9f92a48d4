"""A run that is killed at any moment, and resumed each time, ends in the same bits."""

from __future__ import annotations

import random
import time

import pytest

CHILD = """
import sys
import numpy as np
from dlcore import functional as F, nn, optim, train
from dlcore.interop import weights

out, = sys.argv[1:]
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
    epochs=60,
    batch_size=32,
    validation=data,
    out=out,
    resume=True,
    checkpoint_seconds=0,
)
weights.save(out + "/end.safetensors", result.state)
"""


@pytest.mark.slow
def test_ten_kills_change_no_bit(process, tmp_path):
    whole = process("-c", CHILD, tmp_path / "whole")
    chance = random.Random(0)
    for kill in range(11):
        child = process("-c", CHILD, tmp_path / "killed")
        if kill < 10:
            for _ in range(chance.randint(1, 3)):
                assert child.stdout.readline().startswith("epoch ")
            time.sleep(chance.uniform(0, 0.03))  # into a step, or a checkpoint half written
            child.kill()
        _, errors = child.communicate()
        assert child.returncode == (-9 if kill < 10 else 0), errors
    whole.communicate()
    ends = [(tmp_path / name / "end.safetensors").read_bytes() for name in ("killed", "whole")]
    assert ends[0] == ends[1]
    assert len(ends[0]) > 1000
