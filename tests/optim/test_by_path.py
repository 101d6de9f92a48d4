from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

PARAMS = {"stem": {"kernel": jnp.ones(3)}, "head": {"kernel": jnp.ones(2), "bias": jnp.ones(1)}}
GRADS = {"stem": {"kernel": jnp.arange(3.0)}, "head": {"kernel": jnp.ones(2), "bias": jnp.ones(1)}}


@pytest.mark.parametrize("make", [optax.sgd, optax.adam, optax.adamw])
def test_is_a_learning_rate_for_each_part(make, standard_promotion):
    """Against optax: one optimizer a part, each with its own rate."""
    factors = {"stem/**": 0.1, "head/bias": 0.0}
    ours = optax.chain(make(0.1), optim.scale_by_path(factors))
    reference = optax.multi_transform(
        {"stem": make(0.01), "head": make(0.1), "bias": make(0.0)},
        {"stem": {"kernel": "stem"}, "head": {"kernel": "head", "bias": "bias"}},
    )

    def end(optimizer):
        def step(_, carry):
            params, state = carry
            updates, state = optimizer.update(GRADS, state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, 5, step, (PARAMS, optimizer.init(PARAMS)))[0]

    both = jax.jit(lambda: [end(ours), end(reference)])()
    chex.assert_trees_all_close(*both, rtol=1e-6)


def test_the_first_that_fits_counts_and_dtypes_stay():
    scale = optim.scale_by_path({"head/*": 2.0, "**/kernel": 0.5})
    halves = {
        name: {k: v.astype(jnp.bfloat16) for k, v in part.items()} for name, part in GRADS.items()
    }
    updates, _ = scale.update(halves, scale.init(PARAMS))
    np.testing.assert_array_equal(updates["head"]["kernel"], [2, 2])
    np.testing.assert_array_equal(updates["stem"]["kernel"], [0, 0.5, 1])
    assert updates["stem"]["kernel"].dtype == jnp.bfloat16


def test_a_glob_for_what_is_frozen_is_no_mistake():
    scale = optim.scale_by_path({"stem/**": 0.5})
    scale.init({**PARAMS, "stem": {"kernel": None}})


def test_refuses():
    with pytest.raises(ValueError, match='"stam/\\*\\*" fits no leaf'):
        optim.scale_by_path({"stam/**": 0.5}).init(PARAMS)
    with pytest.raises(ValueError, match="factor must be finite and at least 0, got -1"):
        optim.scale_by_path({"stem/**": -1.0})
