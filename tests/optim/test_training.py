"""Everything of optim inside a Step: frozen parts, extra arguments, checkpoints, accumulation."""

from __future__ import annotations

import functools

import chex
import jax
import numpy as np
import optax
import pytest

from dlcore import functional as F
from dlcore import nn, optim, train, tree
from tests.problems import make_blobs, make_network

FROZEN = ("linear1/**", "batch_norm1/**")
DROPPING = nn.serial(nn.linear(4, 8), nn.dropout(0.3), nn.linear(8, 3))


def everything():
    """One of each kind, in the order that a chain wants."""
    return optax.chain(
        optim.sam(0.01),
        optim.add_penalty(optim.l2(1e-3, mask="**/kernel")),
        optim.clip_by_block_rms(1.0),
        optim.momentum(optim.cosine(0.1, 60), optim.annealed_momentum(10), "classical"),
        optim.decay_weights(1e-4, mask="**/kernel"),
        optim.proximal(0.1, optim.l1(1e-3, mask="linear2/kernel")),
        optim.max_norm(2.0, mask="**/kernel"),
        optim.lookahead(5, 0.5),
    )


def problem(layer, optimizer, objective=None):
    objective = objective or train.classification(layer)
    return train.make_step(objective, optimizer), train.train_state(layer, optimizer)


def test_all_of_it_trains_a_frozen_network_and_resumes_to_the_same_bits(tmp_path):
    layer = nn.freeze(make_network(), FROZEN)
    step, state = problem(layer, everything())
    data, arguments = make_blobs(), {"batch_size": 16, "visible": False}
    whole = train.run(step, state, data, epochs=10, **arguments)
    train.run(step, state, data, epochs=4, out=tmp_path, **arguments)
    resumed = train.run(step, state, data, epochs=10, out=tmp_path, resume=True, **arguments)
    chex.assert_trees_all_equal(whole.state, resumed.state)
    losses = [row["loss"] for row in whole.history]
    assert losses[-1] < losses[0] / 2
    chex.assert_trees_all_equal(whole.state.params["linear1"], state.params["linear1"])
    slow = optim.averaged(whole.state.opt_state, whole.state.params)
    chex.assert_trees_all_equal_shapes_and_dtypes(slow, state.params)
    chex.assert_trees_all_equal(slow["linear1"], state.params["linear1"])
    measured = train.evaluate(step.objective, slow, whole.state.state, data)
    assert measured["accuracy"] > 0.8


def test_the_average_is_that_of_the_states_that_were_seen():
    layer = nn.freeze(make_network(), FROZEN)
    optimizer = optax.chain(optim.adam(0.01), optim.ema_of_weights(0.8))
    step, state = problem(layer, optimizer)
    records = train.fit(step, state, make_blobs(), epochs=2, batch_size=16, every=1)
    states = [record.state for record in records]
    shares = 0.8 ** np.arange(len(states) - 1.0, -1, -1)
    kernels = np.stack([np.float64(one.params["linear2"]["kernel"]) for one in states])
    expected = np.tensordot(shares / shares.sum(), kernels, 1)
    found = optim.averaged(states[-1].opt_state, states[-1].params)
    np.testing.assert_allclose(found["linear2"]["kernel"], expected, rtol=1e-5, atol=1e-6)


def test_sam_steps_by_the_gradient_of_the_same_batch_and_masks():
    """A Step gives it the objective's gradient, dropout drawn alike."""
    layer, rho = DROPPING, 0.1
    batch = make_blobs(16)
    plain, state = problem(layer, optim.sgd(1.0))
    gradients = jax.jit(plain.gradients)
    grads = jax.tree.map(np.asarray, gradients(state, batch)[1])
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    worse = jax.tree.map(lambda p, g: p + rho * g / norm, state.params, grads)
    _, expected = gradients(state._replace(params=worse), batch)
    sharp, start = problem(layer, optax.chain(optim.sam(rho), optim.sgd(1.0)))
    after, _ = jax.jit(sharp)(start, batch)
    moved = jax.tree.map(np.subtract, state.params, after.params)
    chex.assert_trees_all_close(moved, expected, rtol=1e-4, atol=1e-6)


@functools.partial(jax.jit, static_argnames=("objective", "train"))
def measured_by(objective, state, batch, *, key=None, train):
    loss, (_, measured) = objective(state.params, state.state, batch, key=key, train=train)
    return loss, measured


@pytest.mark.slow
def test_regularized_is_the_loss_and_the_penalty():
    layer, penalty = DROPPING, optim.l2(0.1, mask="**/kernel")
    plain = train.classification(layer)
    objective = train.regularized(plain, penalty)
    step, state = problem(layer, optim.sgd(0.05), objective)
    batch = make_blobs(16)

    kernels = [leaf for path, leaf in tree.leaves_with_paths(state.params) if "kernel" in path]
    expected = 0.1 * sum(np.sum(np.square(leaf)) for leaf in kernels)
    for mode in ({"train": False}, {"train": True, "key": jax.random.key(0)}):
        loss, measured = measured_by(objective, state, batch, **mode)
        alone, metrics = measured_by(plain, state, batch, **mode)
        assert float(loss) - float(alone) == pytest.approx(expected, rel=1e-4)
        assert float(measured["penalty"].value()) == pytest.approx(expected, rel=1e-5)
        chex.assert_trees_all_equal(measured["loss"], metrics["loss"])
    history = train.run(step, state, make_blobs(), epochs=2, batch_size=16, visible=False).history
    assert history[1]["penalty"] < history[0]["penalty"]


def test_a_penalty_in_the_loss_is_one_in_the_gradient():
    layer, penalty = nn.freeze(DROPPING, "linear1/**"), optim.elastic_net(0.1, mask="linear2/*")
    objective = train.regularized(train.classification(layer), penalty)
    in_loss = problem(layer, optim.sgd(0.1), objective)
    in_gradient = problem(layer, optax.chain(optim.add_penalty(penalty), optim.sgd(0.1)))
    ends = [
        jax.jit(step)(state, make_blobs(16))[0].params for step, state in (in_loss, in_gradient)
    ]
    chex.assert_trees_all_close(*ends, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [optim.sgd, pytest.param(optim.adam, marks=pytest.mark.slow)])
def test_accumulated_batches_are_one_large_batch(make, standard_promotion):  # MultiSteps promotes
    layer = nn.serial(nn.linear(4, 8), F.tanh, nn.linear(8, 3))
    large, large_state = problem(layer, make(optim.diminishing(0.1)))
    small, state = problem(layer, optim.accumulate(make(optim.diminishing(0.1)), 4))
    large, small = jax.jit(large), jax.jit(small)
    data = make_blobs(64)
    for i in range(0, 64, 8):
        state, _ = small(state, jax.tree.map(lambda leaf, i=i: leaf[i : i + 8], data))
        if i == 16:
            chex.assert_trees_all_equal(state.params, large_state.params)  # nothing between
    for i in range(0, 64, 32):
        large_state, _ = large(large_state, jax.tree.map(lambda leaf, i=i: leaf[i : i + 32], data))
    chex.assert_trees_all_close(state.params, large_state.params, rtol=1e-4, atol=1e-6)


def test_what_accumulates_passes_the_extra_arguments_on(standard_promotion):
    layer = nn.linear(4, 3)
    sharp = optax.chain(optim.sam(0.1), optim.sgd(0.1))
    batch = make_blobs(16)
    ends = []
    for optimizer in (sharp, optim.accumulate(sharp, 1)):
        step, state = problem(layer, optimizer)
        ends.append(jax.jit(step)(state, batch)[0].params)
    chex.assert_trees_all_close(*ends, rtol=1e-6)


def test_a_plateau_is_counted_in_validations():
    """The validation loss is a constant, so each epoch after the first is one without progress."""
    layer = nn.linear(4, 3)
    optimizer = optax.chain(optim.sgd(0.1), optim.reduce_on_plateau(0.5, patience=2))
    step, state = problem(layer, optimizer)
    scales = [
        float(record.state.opt_state[-1].scale)
        for record in train.fit(
            step, state, make_blobs(), epochs=8, batch_size=16, validation=lambda s: {"loss": -1.0}
        )
    ]
    # The update after a validation is the first to know of it.
    assert scales == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]
