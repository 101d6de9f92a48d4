"""The plateau rule against PyTorch's and against itself in Python, and where optax's fails."""

from __future__ import annotations

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from dlcore import optim


def scales(transformation, losses, updates_each=1):
    """The factor on the update after each validation, and the state at the end."""
    params = np.ones(2, np.float32)

    def step(state, loss_and_count):
        loss, count = loss_and_count
        for _ in range(updates_each):
            updates, state = transformation.update(
                params, state, params, validation=loss, validations=count
            )
        return state, updates[0]

    losses, counts = np.float32(losses), np.arange(1, len(losses) + 1, dtype=np.int32)
    state, seen = jax.jit(lambda start: jax.lax.scan(step, start, (losses, counts)))(
        transformation.init(params)
    )
    return np.asarray(seen), state


def sequence(seed, n=60):
    """A loss that falls, stalls and jumps about, with values that repeat."""
    rng = np.random.default_rng(seed)
    return np.round(2 * np.exp(-np.arange(n) / 15) + 0.2 * rng.normal(size=n), 2) + 1


OPTIONS = [
    {"factor": 0.5, "patience": 1},
    {"factor": 0.1, "patience": 4, "cooldown": 3},
    {"factor": 0.5, "patience": 2, "cooldown": 1, "min_scale": 0.1, "rtol": 0.05},
    {"factor": 0.9, "patience": 3, "rtol": 0.0, "atol": 0.1},
    {"factor": 0.5, "patience": 2, "rtol": 0.0},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_equals_torch(options, seed, torch):
    losses = sequence(seed) - (5 if options.get("rtol") == 0 else 0)  # negative ones too
    relative = options.get("atol", 0.0) == 0
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=options["factor"],
        patience=options["patience"] - 1,
        threshold=options.get("rtol", 1e-4) if relative else options["atol"],
        threshold_mode="rel" if relative and options.get("rtol") != 0 else "abs",
        cooldown=options.get("cooldown", 0),
        min_lr=options.get("min_scale", 0.0),
        eps=0.0,  # by default it makes no change below 1e-8
    )
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for loss in losses:
            theirs.step(float(np.float32(loss)))
            expected.append(optimizer.param_groups[0]["lr"])
    ours, _ = scales(optim.reduce_on_plateau(**options), losses)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert len(set(expected)) > 2  # it did something


def by_hand(losses, factor, patience, rtol=1e-4, atol=0.0, cooldown=0, min_scale=0.0):
    best, waited, cooling, scale, seen = np.inf, 0, 0, 1.0, []
    for loss in np.float32(losses):
        if loss < best - (rtol * abs(best) + atol if np.isfinite(best) else 0):
            best, waited = loss, 0
        elif not cooling:
            waited += 1
        if cooling:
            cooling, waited = cooling - 1, 0
        if waited >= patience:
            scale, waited, cooling = max(scale * factor, min_scale), 0, cooldown
        seen.append(scale)
    return seen


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shift", [-1.5, -10.0, 0.0])
def test_is_the_rule_for_negative_and_mixed_losses_too(options, shift):
    losses = sequence(3) + shift
    ours, _ = scales(optim.reduce_on_plateau(**options), losses)
    np.testing.assert_allclose(ours, by_hand(losses, **options), rtol=1e-5)


def test_a_negative_loss_that_creeps_up_is_no_progress(standard_promotion):
    """Where optax differs: it compares with (1 − rtol)·best, which lies above a negative best."""
    losses = -1 + 1e-5 * np.arange(30)
    ours, _ = scales(optim.reduce_on_plateau(0.5, patience=10), losses)
    assert ours.tolist() == [1.0] * 10 + [0.5] * 10 + [0.25] * 10
    theirs = optax.contrib.reduce_on_plateau(0.5, patience=10)
    step = jax.jit(lambda state, loss: theirs.update(jnp.ones(2), state, value=loss)[1])
    state = theirs.init(jnp.ones(2))
    for loss in losses:
        state = step(state, loss)
    assert state.scale == 1.0


def test_validations_are_counted_not_updates():
    """Three equal validations in a row are three, an update that brings no new one is none."""
    transformation = optim.reduce_on_plateau(0.5, patience=2)
    ours, _ = scales(transformation, [1.0, 1.0, 1.0, 1.0, 1.0], updates_each=7)
    assert ours.tolist() == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_nothing_happens_before_the_first_validation():
    """As a TrainState begins: a loss of infinity, no validation."""
    transformation = optim.reduce_on_plateau(0.5, patience=1)
    params = np.ones(2, np.float32)
    update = jax.jit(functools.partial(transformation.update, validation=np.inf, validations=0))
    start = state = transformation.init(params)
    for _ in range(3):
        updates, state = update(params, state, params)
        np.testing.assert_array_equal(updates, params)
    jax.tree.map(np.testing.assert_array_equal, start, state)


def test_a_nan_is_never_better():
    ours, state = scales(optim.reduce_on_plateau(0.5, patience=2), [2.0, np.nan, np.nan, 1.0])
    assert ours.tolist() == [1.0, 1.0, 0.5, 0.5]
    assert state.best_value == 1.0


def test_drops_the_rate_by_ten_per_cent():
    """Lecture C: "drop learning rate by x %" is the factor 1 − x/100."""
    optimizer = optax.chain(optim.sgd(0.3), optim.reduce_on_plateau(1 - 10 / 100, patience=1))
    params = jnp.ones(1)
    state, rates = optimizer.init(params), []
    for count in range(1, 5):
        updates, state = optimizer.update(params, state, params, validation=1.0, validations=count)
        rates.append(-float(updates[0]))
    np.testing.assert_allclose(rates, 0.3 * 0.9 ** np.arange(4), rtol=1e-6)
