from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import device, nn, optim, train
from dlcore.train.metrics import mean


def scalar(name, start):
    return nn.layer.make(name, lambda key: ({"w": jnp.asarray(start)}, ()), None)


@pytest.fixture(params=["loop", "calls"], autouse=True)
def plan(request, monkeypatch):
    monkeypatch.setattr(
        device, "steps_in_one_call", lambda *_: 99 if request.param == "loop" else 1
    )


def game(rate=0.1):
    """max over b, min over a of a·b: each step is known in closed form."""

    def of(own, other, sign):
        def objective(params, state, batch, *, key=None, train=False, states):
            loss = sign * params["w"] * states[other].params["w"]
            return loss, (state, {"value": train_metric(loss)})

        return train.make_step(objective, optim.sgd(rate))

    def train_metric(loss):
        return mean(loss[None])

    steps = {"a": of("a", "b", 1.0), "b": of("b", "a", -1.0)}
    states = {
        "a": train.train_state(scalar("a", 1.0), optim.sgd(rate)),
        "b": train.train_state(scalar("b", 2.0), optim.sgd(rate), seed=1),
    }
    return steps, states


@pytest.mark.parametrize("ratios", [{}, {"a": 3}, {"b": 2}])
def test_it_is_the_python_loop_over_turns(ratios):
    steps, states = game()
    data = {"x": np.zeros((28, 1), np.float32)}
    for record in train.fit(
        train.alternate(steps, ratios), states, data, epochs=2, batch_size=2, every=3
    ):
        end = record.state
    a, b, turns = 1.0, 2.0, []
    order = ["a"] * ratios.get("a", 1) + ["b"] * ratios.get("b", 1)
    for index in range(28):
        turns.append(order[index % len(order)])
        a, b = (a - 0.1 * b, b) if turns[-1] == "a" else (a, b + 0.1 * a)
    assert float(end["a"].params["w"]) == pytest.approx(a, rel=1e-4)
    assert float(end["b"].params["w"]) == pytest.approx(b, rel=1e-4)
    assert (int(end["a"].step), int(end["b"].step)) == (turns.count("a"), turns.count("b"))
    assert set(record.metrics) == {"a_value", "b_value"}


def test_metrics_average_over_the_batches_that_each_had():
    steps, states = game(rate=0.0)
    data = {"x": np.zeros((30, 1), np.float32)}
    (record,) = train.fit(train.alternate(steps, {"a": 2}), states, data, epochs=1, batch_size=2)
    assert record.metrics == pytest.approx({"a_value": 2.0, "b_value": -2.0})


def test_a_bad_loss_of_one_is_named():
    steps, states = game(rate=0.0)
    data = {"x": np.zeros((6, 1), np.float32)}
    spoiled = states["b"]._replace(params={"w": jnp.asarray(jnp.nan)})
    with pytest.raises(train.NonFiniteLossError, match="step 0"):
        list(
            train.fit(
                train.alternate(steps), {**states, "b": spoiled}, data, epochs=1, batch_size=2
            )
        )


def test_equal_seeds_are_refused():
    steps, states = game()
    twins = {name: state._replace(seed=jnp.uint32(3)) for name, state in states.items()}
    data = {"x": np.zeros((6, 1), np.float32)}
    with pytest.raises(ValueError, match="seeds of their own"):
        train.fit(train.alternate(steps), twins, data, epochs=1, batch_size=2)


@pytest.mark.parametrize("ratios", [{"c": 1}, {"a": 0}])
def test_bad_ratios_are_refused(ratios):
    steps, _ = game()
    with pytest.raises(ValueError, match="ratio"):
        train.alternate(steps, ratios)


def test_no_gradient_flows_into_the_others():
    steps, states = game()
    batch = {"x": jnp.zeros((1, 1))}
    new, _ = jax.jit(train.alternate(steps))(states, batch)
    assert float(new["b"].params["w"]) == 2.0
    assert float(new["a"].params["w"]) == pytest.approx(0.8)


# ------------------------------------------------------------- with all that a step may be made of


def adversaries():
    """A generator and a discriminator of 2-D points, whose objectives read each other's states."""
    generator, discriminator = nn.linear(2, 2), nn.linear(2, 1)
    half = train.with_precision(discriminator, "bfloat16")

    def scores(states, x):
        return half.apply(states["discriminator"].params, (), x)[0][:, 0]

    def generate(params, x):
        return generator.apply(params, (), x)[0]

    def generated(params, state, batch, *, key=None, train=False, states):
        loss = -scores(states, generate(params, batch["x"]))
        measured = mean(loss, batch.get("weight"))
        return measured.value(), (state, {"loss": measured})

    def discriminated(params, state, batch, *, key=None, train=False, states):
        false = generate(states["generator"].params, batch["x"])
        real, fake = (half.apply(params, (), x)[0][:, 0] for x in (batch["real"], false))
        measured = mean(fake - real, batch.get("weight"))
        return measured.value(), (state, {"loss": measured})

    return {"generator": (generator, generated), "discriminator": (discriminator, discriminated)}


def shifted(key, batch):
    return {**batch, "x": batch["x"] + 1.0}


def test_adversaries_compose_with_all_that_a_step_is_made_of():
    optimizer = optim.sgd(0.1)
    parts = adversaries()
    objectives = {
        name: train.regularized(train.augmented(objective, shifted), optim.l2(1e-3))
        for name, (_, objective) in parts.items()
    }
    steps = {name: train.make_step(one, optimizer) for name, one in objectives.items()}
    steps["generator"] = train.local_sgd(steps["generator"], workers=2, period=2)
    states = {
        name: train.train_state(layer, optimizer, seed=seed)
        for seed, (name, (layer, _)) in enumerate(parts.items())
    }
    generator = np.random.default_rng(0)
    data = {name: generator.normal(size=(64, 2)).astype(np.float32) for name in ("x", "real")}
    step = train.alternate(steps)
    *_, record = train.fit(step, states, data, epochs=2, batch_size=8)
    assert {"generator_loss", "discriminator_penalty"} < set(record.metrics)
    end = record.state
    assert int(end["generator"].step) == int(end["discriminator"].step) == 8

    found = train.evaluate(
        objectives["discriminator"],
        end["discriminator"].params,
        end["discriminator"].state,
        data,
        batch_size=30,
        states=end,
    )
    params = jax.tree.map(np.asarray, {name: one.params for name, one in end.items()})
    false = data["x"] @ params["generator"]["kernel"] + params["generator"]["bias"]
    expected = ((false - data["real"]) @ params["discriminator"]["kernel"]).mean()
    assert found["loss"] == pytest.approx(expected, rel=2e-2, abs=2e-2)  # bfloat16


def test_a_bad_batch_of_one_that_reads_states_is_named():
    parts, optimizer = adversaries(), optim.sgd(0.1)
    steps = {name: train.make_step(one, optimizer) for name, (_, one) in parts.items()}
    states = {
        name: train.train_state(layer, optimizer, seed=seed)
        for seed, (name, (layer, _)) in enumerate(parts.items())
    }
    data = {name: np.zeros((8, 2), np.float32) for name in ("x", "real")}
    data["real"][:] = np.inf
    with pytest.raises(train.NonFiniteLossError, match="the batch's real holds") as error:
        list(train.fit(train.alternate(steps), states, data, epochs=1, batch_size=4))
    assert set(error.value.state) == {"generator", "discriminator"}


def test_a_step_without_a_state_is_named():
    steps, states = game()
    data = {"x": np.zeros((4, 1), np.float32)}
    with pytest.raises(ValueError, match="trains 'b', but the states are a: give"):
        train.fit(train.alternate(steps), {"a": states["a"]}, data, epochs=1, batch_size=2)
