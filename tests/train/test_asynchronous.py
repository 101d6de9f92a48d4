"""Asynchronous and local descent in the loop that everything else is trained in."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import device, keys, nn, optim, train
from dlcore.data import batching
from dlcore.train.metrics import mean


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def trained(step, state, data, **settings):
    *_, last = train.fit(step, state, data, **{"epochs": 3, "batch_size": 8, **settings})
    return last.state


DESCENT = optim.sgd(0.1)


@pytest.mark.parametrize(
    ("plan", "optimizer", "never", "longest"),
    [
        ("loop", DESCENT, 0, None),
        pytest.param("loop", DESCENT, np.zeros(5, int), 2, marks=pytest.mark.slow),
        pytest.param("calls", optim.adam(1e-2), 0, None, marks=pytest.mark.slow),
    ],
)
def test_staleness_0_is_synchronous_descent_to_the_bit(
    blobs, problem, monkeypatch, plan, optimizer, never, longest
):
    """With batch norm and dropout: the same batches, keys and parameters."""
    monkeypatch.setattr(device, "steps_in_one_call", lambda *_: 99 if plan == "loop" else 1)
    plain = trained(*problem(optimizer=optimizer), blobs())
    late = trained(*problem(optimizer=optim.delayed(optimizer, never, longest)), blobs())
    equal((late.params, late.state, late.opt_state.inner), plain[:3])


def test_the_gradients_are_those_of_the_parameters_read_with_the_keys_of_the_step(blobs, problem):
    """Against the same Step taken by hand, with every TrainState kept."""
    staleness = optim.arrivals(np.array([[1.0], [1.3], [4.0]]), 36).staleness
    data = blobs()
    step, start = problem(optimizer=optim.delayed(DESCENT, staleness))
    end = trained(step, start, data)
    plain, state = problem(optimizer=DESCENT)

    @jax.jit
    def one(state, read, batch):
        (_, (model_state, _)), _ = plain.gradients(state, batch)
        _, grads = plain.gradients(state._replace(params=read), batch)
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, grads)
        return state._replace(params=moved, state=model_state, step=state.step + 1)

    ways = []
    for t in range(36):
        rows = batching.order(96, 0, t // 12)[t % 12 * 8 :][:8]
        batch = {name: leaf[np.asarray(rows)] for name, leaf in data.items()}
        ways.append(state.params)
        state = one(state, ways[max(0, t - staleness[t])], batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        (end.params, end.state),
        (state.params, state.state),
    )


def test_a_run_can_be_resumed_to_the_bit(blobs, problem):
    step, start = problem(optimizer=optim.delayed(DESCENT, 3))
    half = trained(step, start, blobs(), epochs=1)
    equal(trained(step, half, blobs()), trained(step, start, blobs()))


# ------------------------------------------------------------------------------------- local SGD

LINEAR = nn.linear(4, 3)
SGD = train.make_step(train.classification(LINEAR), optim.sgd(0.2))


def test_one_update_a_round_is_one_large_batch(blobs):
    start = train.train_state(LINEAR, SGD.optimizer)
    apart = trained(train.local_sgd(SGD, workers=4, period=1), start, blobs(), batch_size=32)
    whole = trained(SGD, start, blobs(), batch_size=32)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), apart[:2], whole[:2])
    assert int(apart.step) == int(whole.step) == 9


def test_one_worker_is_plain_descent(blobs):
    optimizer = optim.adam(optim.exponential(0.05, 0.1))
    step = train.make_step(train.classification(LINEAR), optimizer)
    start = train.train_state(LINEAR, optimizer)
    alone = trained(train.local_sgd(step, workers=1, period=1), start, blobs())
    plain = trained(step, start, blobs())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), alone, plain)
    four = trained(train.local_sgd(step, workers=1, period=4), start, blobs(), batch_size=32)
    assert int(four.opt_state[0].count) == 36
    assert int(four.step) == 9


def test_workers_train_apart_and_average(blobs):
    """Against NumPy: softmax regression, momentum of each worker, the mean after every round."""
    optimizer = optim.momentum(0.2)
    step = train.make_step(train.classification(LINEAR), optimizer)
    start, data = train.train_state(LINEAR, optimizer), blobs()
    workers, period, size = 3, 4, 2
    end = trained(
        train.local_sgd(step, workers=workers, period=period), start, data, batch_size=24, epochs=2
    )
    w, b = (np.asarray(start.params[name], np.float64) for name in ("kernel", "bias"))
    velocity = [np.zeros_like(w), np.zeros_like(b)]
    for number in range(8):
        order = np.asarray(batching.order(96, 0, number // 4))
        shares = order[number % 4 * 24 :][:24].reshape(workers, period, size)
        ends = []
        for share in shares:
            own = [w, b, *velocity]
            for rows in share:
                x, y = data["x"][rows], data["y"][rows]
                p = np.exp(x @ own[0] + own[1])
                delta = (p / p.sum(1, keepdims=True) - np.eye(3)[y]) / size
                own[2:] = [x.T @ delta + 0.9 * own[2], delta.sum(0) + 0.9 * own[3]]
                own[:2] = [own[0] - 0.2 * own[2], own[1] - 0.2 * own[3]]
            ends.append(own)
        w, b, *velocity = (np.mean(part, axis=0) for part in zip(*ends, strict=True))
    np.testing.assert_allclose(end.params["kernel"], w, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(end.params["bias"], b, rtol=1e-3, atol=1e-5)


def test_every_update_of_every_worker_has_a_key_of_its_own():
    """The gradient of w·u is the draw u, so w ends at minus their sum, averaged over workers."""

    def objective(params, state, batch, *, key=None, train=False):
        loss = params["w"] * jax.random.normal(key)
        return loss, (state, {"loss": mean(loss[None])})

    scalar = nn.layer.make("scalar", lambda key: ({"w": jnp.zeros(())}, ()), None)
    step = train.make_step(objective, optim.sgd(1.0))
    local = train.local_sgd(step, workers=2, period=3)
    data = {"x": np.zeros((12, 1), np.float32)}
    end = trained(local, train.train_state(scalar, step.optimizer), data, batch_size=6, epochs=1)
    root = keys.stream(0, "step")
    draw = jax.jit(jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(root, number))))
    draws = np.asarray(draw(np.arange(12)), np.float64)
    assert float(end.params["w"]) == pytest.approx(-draws.sum() / 2, rel=1e-5)


def test_a_network_with_state_and_randomness_learns(blobs, problem):
    step, start = problem()
    local = train.local_sgd(step, workers=2, period=3)
    first, *_, last = train.fit(
        local, start, blobs(), epochs=6, batch_size=24, validation=blobs(seed=1)
    )
    assert last.metrics["loss"] < first.metrics["loss"]
    chex.assert_trees_all_equal_shapes_and_dtypes(last.state, start)


def test_a_loss_that_is_not_finite_stops_the_round(blobs):
    data = blobs()
    data["x"][5] = np.nan
    start = train.train_state(LINEAR, SGD.optimizer)
    with pytest.raises(train.NonFiniteLossError, match="rows 5"):
        trained(train.local_sgd(SGD, workers=4, period=2), start, data, batch_size=16)


def test_refuses(blobs):
    with pytest.raises(ValueError, match="workers is 0 and period 1"):
        train.local_sgd(SGD, workers=0, period=1)
    start = train.train_state(LINEAR, SGD.optimizer)
    with pytest.raises(ValueError, match=r"10 examples, but a multiple of workers · period = 8"):
        trained(train.local_sgd(SGD, workers=4, period=2), start, blobs(), batch_size=10)
