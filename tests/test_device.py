from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from dlcore import device, flops, models, nn, optim, train


def steps_in_one_call(layer, shape):
    optimizer = optim.sgd(0.1)
    step = train.make_step(train.classification(layer), optimizer)
    state = train.train_state(layer, optimizer)
    batch = {"x": jnp.zeros(shape), "y": jnp.zeros(shape[0], jnp.int32)}
    return device.steps_in_one_call(step, state, batch), flops.count(step, state, batch)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="skipped, because this is no CPU")
def test_a_call_on_the_cpu_ends_in_seconds():
    for layer, shape in [
        (models.mlp(hidden=(8,)), (4, 28, 28, 1)),
        (models.lenet5(), (4, 28, 28, 1)),
    ]:
        steps, operations = steps_in_one_call(layer, shape)
        assert steps > 1
        assert steps * operations <= device.CALL_FLOPS < (steps + 1) * operations


def test_a_step_that_is_long_or_slow_in_a_loop_is_a_call_of_its_own(monkeypatch):
    grouped = nn.serial(nn.conv(4, 4, 3, groups=2), nn.flatten, nn.linear(4 * 36, 10))
    assert steps_in_one_call(grouped, (2, 8, 8, 4))[0] == 1
    monkeypatch.setattr(device, "CALL_FLOPS", 10)
    assert steps_in_one_call(models.lenet5(), (4, 28, 28, 1))[0] == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "cuda")
    assert steps_in_one_call(models.lenet5(), (4, 28, 28, 1))[0] > 1e9
