"""What is chained around an optimizer: one table, and what holds for all of it."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

RATE = optim.cosine(0.1, 10)

PARTS = {
    "clip": optim.clip(0.5),
    "clip_by_global_norm": optim.clip_by_global_norm(0.5),
    "clip_by_block_rms": optim.clip_by_block_rms(0.5),
    "scale_by_path": optim.scale_by_path({"**/kernel": 0.5}),
    "sam": optim.sam(0.1),
    "add_penalty": optim.add_penalty(optim.elastic_net(0.1, mask="**/kernel")),
    "decay_weights": optim.decay_weights(RATE),
    "proximal, l1": optim.proximal(0.1, optim.l1(0.1)),
    "proximal, l2": optim.proximal(RATE, optim.l2(0.1, mask="**/kernel")),
    "proximal, elastic_net": optim.proximal(RATE, optim.elastic_net(0.1)),
    "proximal, group_lasso": optim.proximal(0.1, optim.group_lasso(0.1)),
    "max_norm": optim.max_norm(1.0),
    "ema_of_weights": optim.ema_of_weights(0.9),
    "swa": optim.swa(2, 2),
    "lookahead": optim.lookahead(2),
    "reduce_on_plateau": optim.reduce_on_plateau(0.5, patience=1),
}
every_part = pytest.mark.parametrize("name", PARTS)

RNG = np.random.default_rng(0)


def leaf(dtype, *shape):
    return jnp.asarray(np.asarray(RNG.normal(size=shape)).astype(dtype))


PARAMS = {
    "conv": {"kernel": leaf("float32", 2, 2, 3, 4), "bias": leaf("bfloat16", 4)},
    "head": [{"kernel": leaf("bfloat16", 4, 3)}, {"kernel": leaf("float32", 0, 3)}],
    "frozen": {"kernel": None},
    "empty": {"tuple": (), "dict": {}},
    "scale": leaf("float32"),
}


def loss(params):
    return sum(jnp.sum(leaf.astype(jnp.float32) ** 4) for leaf in jax.tree.leaves(params))


def update(transformation, params, state, count):
    grads = jax.grad(loss)(params)
    updates, state = transformation.update(
        grads, state, params, grad_fn=jax.grad(loss), validation=1.0, validations=count
    )
    return updates, optax.apply_updates(params, updates), state


@every_part
def test_keeps_structure_and_dtypes_and_is_traced_once(name):
    optimizer = optax.chain(PARTS[name], optim.sgd(0.01))
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, state, count):
        return update(optimizer, params, state, count)

    params, state = PARAMS, optimizer.init(PARAMS)
    for count in range(4):
        updates, params, after = step(params, state, count)
        chex.assert_trees_all_equal_structs(updates, PARAMS)
        chex.assert_trees_all_equal_shapes_and_dtypes(params, PARAMS)
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        chex.assert_tree_all_finite(updates)
        state = after


@every_part
def test_optax_finds_the_copies_of_the_parameters_in_its_state(name):
    optimizer = optax.chain(optim.adam(0.1), PARTS[name])
    found = optax.tree_map_params(
        optimizer,
        lambda leaf, param: leaf.shape == param.shape,
        optimizer.init(PARAMS),
        PARAMS,
        transform_non_params=lambda leaf: None,
    )
    copies = 3 if name in ("ema_of_weights", "swa", "lookahead") else 2
    assert jax.tree.leaves(found) == [True] * copies * len(jax.tree.leaves(PARAMS))


def test_optax_finds_them_behind_a_penalty_of_ones_own():
    optimizer = optim.add_penalty(lambda params: jnp.sum(params["conv"]["kernel"] ** 2))
    assert optax.tree_map_params(optimizer, lambda _: 1, optimizer.init(PARAMS)) == ()


@every_part
def test_takes_a_whole_float64_tree(name, x64):
    part = PARTS[name] if name != "scale_by_path" else optim.scale_by_path({"kernel": 0.5})
    updates, _, state = jax.eval_shape(
        lambda params: update(part, params, part.init(params), 3), {"kernel": np.ones((2, 3))}
    )
    assert updates["kernel"].dtype == jnp.float64
    if name in ("ema_of_weights", "swa", "lookahead"):
        assert state.average["kernel"].dtype == jnp.float64


@pytest.mark.parametrize("name", [name for name in PARTS if name != "sam"])
def test_what_is_masked_away_stays_untouched(name):
    mask = {"conv": True, "head": False, "frozen": True, "empty": True, "scale": False}
    masked = optax.masked(PARTS[name], mask)

    @jax.jit
    def both(params):
        grads = jax.grad(loss)(params)
        state = masked.init(params)
        updates, _ = masked.update(grads, state, params, validation=1.0, validations=3)
        return grads, updates

    grads, updates = both(PARAMS)
    chex.assert_trees_all_equal(updates["head"], grads["head"])
    chex.assert_trees_all_equal(updates["scale"], grads["scale"])
