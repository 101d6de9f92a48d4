"""Frozen leaves stand still through training; features are computed once."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import data, nn, optim, train, tree
from dlcore import functional as F
from tests.problems import make_blobs

NETWORK = nn.serial(nn.linear(4, 6), nn.batch_norm(6), F.relu, nn.linear(6, 3))
FROZEN = ("linear1/**", "batch_norm1/**")


def start(layer, optimizer, **options):
    return train.make_step(train.classification(layer), optimizer), train.train_state(
        layer, optimizer, **options
    )


def trained(step, state, steps):
    batch = jax.tree.map(jnp.asarray, make_blobs())

    @jax.jit
    def many(state):
        return jax.lax.fori_loop(0, steps, lambda _, state: step(state, batch)[0], state)

    return many(state)


def by_path(*trees):
    return {name: np.asarray(leaf) for one in trees for name, leaf in tree.leaves_with_paths(one)}


def test_frozen_leaves_are_bit_identical_after_100_steps_of_decay():
    layer = nn.freeze(NETWORK, FROZEN)
    optimizer = optim.adamw(0.01, weight_decay=0.1)
    step, state = start(layer, optimizer)
    # Statistics that are not those a layer starts with.
    state = state._replace(state=jax.tree.map(lambda leaf: np.asarray(leaf) + 0.25, state.state))
    after = trained(step, state, 100)
    assert int(after.step) == 100
    new, old = by_path(after.params, after.state), by_path(state.params, state.state)
    for path in old:
        assert np.array_equal(new[path], old[path]) == path.startswith(("linear1", "batch_norm1"))
    body, _ = nn.split(layer, "linear2")
    x = make_blobs(seed=3)
    before, now = (
        train.extract(body, nn.part(body, one.params), nn.part(body, one.state), x)["x"]
        for one in (state, after)
    )
    np.testing.assert_array_equal(before, now)


def test_moments_are_kept_of_what_learns_only():
    layer = nn.freeze(NETWORK, FROZEN)
    learning = tree.count(layer.init(jax.random.key(0))[0]["linear2"])
    moments = train.train_state(layer, optim.adam(0.1)).opt_state
    assert tree.count(moments) == 2 * learning + 1


def test_training_the_rest_is_optax_on_the_rest(standard_promotion):
    """Against optax's own way: multi_transform, with the frozen part set to zero."""
    layer = nn.freeze(nn.serial(nn.linear(4, 5), jnp.tanh, nn.linear(5, 3)), "linear1/**")
    step, state = start(layer, optim.adamw(0.01, weight_decay=0.1))
    labels = {"linear1": "frozen", "linear2": "adamw"}
    reference = optax.multi_transform(
        {"adamw": optax.adamw(0.01, weight_decay=0.1), "frozen": optax.set_to_zero()}, labels
    )
    plain = nn.thaw(layer, "**")
    other_step, other = start(plain, reference)
    chex.assert_trees_all_equal(state.params, other.params)
    chex.assert_trees_all_close(
        trained(step, state, 20).params, trained(other_step, other, 20).params, rtol=1e-5
    )


def test_a_run_goes_on_from_given_parameters_with_more_of_them_thawed():
    layer = nn.freeze(NETWORK, FROZEN)
    step, state = start(layer, optim.adam(0.01))
    first = trained(step, state, 3)
    thawed = nn.thaw(layer, "batch_norm1/**")
    step, second = start(thawed, optim.adam(0.01), params=first.params, state=first.state)
    chex.assert_trees_all_equal(second.params, first.params)
    after = trained(step, second, 3)
    np.testing.assert_array_equal(
        after.params["linear1"]["kernel"], first.params["linear1"]["kernel"]
    )
    assert np.any(after.params["batch_norm1"]["scale"] != first.params["batch_norm1"]["scale"])
    assert np.any(after.state["batch_norm1"]["mean"] != first.state["batch_norm1"]["mean"])


def test_a_frozen_run_is_checkpointed_and_resumed_bit_for_bit(tmp_path):
    layer = nn.freeze(NETWORK, FROZEN)
    whole, parts = (start(layer, optim.adam(0.01)) for _ in range(2))
    settings = {"data": make_blobs(), "batch_size": 16, "visible": False}
    straight = train.run(*whole, epochs=3, **settings)
    train.run(*parts, epochs=1, out=tmp_path, checkpoint_seconds=0, **settings)
    resumed = train.run(*parts, epochs=3, out=tmp_path, resume=True, **settings)
    chex.assert_trees_all_equal(straight.state, resumed.state)


def test_given_parameters_that_do_not_fit_are_refused():
    layer = NETWORK
    params, _ = layer.init(jax.random.key(0))
    wrong = {**params, "linear2": {"kernel": params["linear2"]["kernel"]}}
    with pytest.raises(ValueError, match=r"params do not fit .*linear2/bias should be \[3\]"):
        train.train_state(layer, optim.adam(0.1), params=wrong)
    with pytest.raises(ValueError, match="state do not fit the layer"):
        train.train_state(layer, optim.adam(0.1), state={})


def test_layerwise_falls_from_the_head():
    assert train.layerwise(NETWORK, 0.5) == {
        "linear2/**": 1,
        "batch_norm1/**": 0.5,
        "linear1/**": 0.25,
    }
    with pytest.raises(ValueError, match="0 < decay ≤ 1"):
        train.layerwise(NETWORK, 0)


def test_features_and_head_are_the_network():
    layer = NETWORK
    params, state = layer.init(jax.random.key(0))
    body, head = nn.split(layer, "linear2")
    examples = make_blobs(n=50)
    for source in (examples, data.HostData(examples)):
        features = train.extract(
            body, nn.part(body, params), nn.part(body, state), source, batch_size=16
        )
        np.testing.assert_array_equal(features["y"], examples["y"])
        logits = train.predict(head, nn.part(head, params), (), features)
        expected, _ = jax.jit(layer.apply)(params, state, examples["x"])
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_cached_features_are_those_of_the_same_weights_and_data(tmp_path):
    layer = NETWORK
    params, state = layer.init(jax.random.key(0))
    examples, path = make_blobs(n=20), tmp_path / "features.safetensors"
    first = train.extract(layer, params, state, examples, cache=path)
    written = path.stat().st_mtime_ns
    again = train.extract(layer, params, state, examples, cache=path)
    assert path.stat().st_mtime_ns == written
    chex.assert_trees_all_equal(first, again)
    other = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, params)
    changed = train.extract(layer, other, state, examples, cache=path)
    assert path.stat().st_mtime_ns > written
    expected, _ = jax.jit(layer.apply)(other, state, examples["x"])
    np.testing.assert_allclose(changed["x"], expected, rtol=1e-5, atol=1e-6)
    for factor in (2.0, 3.0):  # functions of one name, and arrays that they hold
        shift = jnp.asarray(factor * np.arange(4), jnp.float32)
        layer = nn.serial(lambda x, factor=factor, shift=shift: factor * x + shift)
        scaled = train.extract(layer, (), (), examples, cache=path)
        np.testing.assert_allclose(scaled["x"], factor * examples["x"] + shift, rtol=1e-6)
    for shift in (np.zeros(4, "f"), np.ones(4, "f")):
        moved = train.extract(nn.serial(lambda x, s=shift: x + s), (), (), examples, cache=path)
        np.testing.assert_allclose(moved["x"], examples["x"] + shift, rtol=1e-6)
    with pytest.raises(ValueError, match="a cache needs data in memory"):
        train.extract(layer, params, state, data.HostData(examples), cache=path)
