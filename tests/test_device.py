from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
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


def two_steps(jit, layer, batch):
    """The parameters and the loss after two steps in one program."""
    optimizer = optim.momentum(0.01)
    step = train.make_step(train.classification(layer), optimizer)

    def two(state):
        for _ in range(2):
            state, measured = step(state, batch)
        return state.params, measured["loss"].value()

    return jit(two)(train.train_state(layer, optimizer))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        pytest.param(models.lenet5(), (8, 28, 28, 1), id="lenet5"),
        pytest.param(models.resnet_cifar(8), (8, 32, 32, 3), id="resnet", marks=pytest.mark.slow),
    ],
)
def test_what_xla_is_told_changes_rounding_alone(layer, shape):
    x = np.random.default_rng(0).normal(size=shape)
    batch = {"x": jnp.asarray(x, jnp.float32), "y": jnp.arange(8)}
    told, plain = (two_steps(jit, layer, batch) for jit in (device.jit, jax.jit))
    for one, other in zip(jax.tree.leaves(told), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_an_option_that_xla_does_not_know_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(device, "ONEDNN", "xla_cpu_of_another_age")
    assert device.compiler_options.__wrapped__() == {}


@pytest.mark.parametrize("value", ["true", "false"])
def test_the_environment_has_the_last_word(monkeypatch, value):
    monkeypatch.setenv("XLA_FLAGS", f"--{device.ONEDNN}={value}")
    assert device.compiler_options.__wrapped__() == {}


def test_a_cache_of_programs_has_none_that_xla_cannot_write(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_is_cached", lambda: True)
    assert device.compiler_options.__wrapped__() == {}
    monkeypatch.undo()
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        assert device._is_cached() == jax.config.jax_enable_compilation_cache
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_an_accelerator_is_told_nothing(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cuda")
    assert device.compiler_options.__wrapped__() == {}
    assert not device.has_onednn.__wrapped__()
