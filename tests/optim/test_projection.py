from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import optim

RNG = np.random.default_rng(0)


def leaf(*shape, dtype="float32"):
    return (3 * RNG.normal(size=shape)).astype(dtype)


PARAMS = {
    "conv": {"kernel": leaf(3, 3, 2, 6), "bias": leaf(6)},
    "narrow": {"kernel": leaf(4, 2, dtype="bfloat16")},
    "frozen": {"kernel": None},
}
UPDATES = jax.tree.map(lambda p: RNG.normal(size=p.shape).astype(p.dtype), PARAMS)


def after(transformation, steps=1):
    """The parameters after updates that are always the same."""

    @jax.jit
    def run(params):
        state = transformation.init(params)
        for _ in range(steps):  # not a loop of JAX: optax's adam widens its moments
            updates, state = transformation.update(UPDATES, state, params)
            params = optax.apply_updates(params, updates)
        return params

    return run(PARAMS)


@pytest.mark.parametrize("limit", [0.5, 3.0])
def test_max_norm_bounds_the_weights_that_enter_each_unit(limit):
    plain = after(optax.identity())
    bounded = after(optim.max_norm(limit))
    kernel, new = (np.float64(tree["conv"]["kernel"]).reshape(-1, 6) for tree in (plain, bounded))
    norms = np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(new, kernel * np.minimum(1, limit / norms), rtol=1e-5, atol=1e-6)
    assert np.linalg.norm(new, axis=0).max() <= limit * (1 + 1e-6)
    np.testing.assert_array_equal(bounded["conv"]["bias"], plain["conv"]["bias"])
    assert bounded["narrow"]["kernel"].dtype == jnp.bfloat16
    assert np.linalg.norm(np.float64(bounded["narrow"]["kernel"]), axis=0).max() <= limit * 1.01


def test_squares_do_not_overflow_in_a_narrow_dtype():
    kernel = {"kernel": np.asarray([[300.0], [400.0]], np.float16)}  # 300² is beyond float16
    nothing = jax.tree.map(np.zeros_like, kernel)
    for shrink, expected in (
        (optim.max_norm(5.0), [3.0, 4.0]),
        (optim.proximal(1.0, optim.group_lasso(400 / 2**0.5, axis=-1)), [60.0, 80.0]),
    ):
        updates, _ = jax.jit(shrink.update)(nothing, shrink.init(kernel), kernel)
        assert updates["kernel"].dtype == jnp.float16
        new = kernel["kernel"] + np.asarray(updates["kernel"])
        np.testing.assert_allclose(np.float32(new[:, 0]), expected, atol=0.3)


@pytest.mark.parametrize("size", [1e30, 1e-30, 0.0])
def test_norms_of_units_do_not_leave_the_range(size):
    kernel = {"kernel": np.float32([[3 * size, 0.3], [4 * size, 0.4]])}  # beside a unit of 0.5
    nothing = jax.tree.map(np.zeros_like, kernel)

    @jax.jit
    def projected(kernel):
        shrink = optim.max_norm(size)
        return shrink.update(nothing, shrink.init(kernel), kernel)[0]

    new = kernel["kernel"] + np.asarray(projected(kernel)["kernel"])
    limit = np.float64(min(size, 0.5))
    expected = np.stack([[0.6 * size, 0.8 * size], [0.6 * limit, 0.8 * limit]], axis=1)
    np.testing.assert_allclose(new[:, 0], expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(new[:, 1], expected[:, 1], rtol=1e-5, atol=1e-7)


def test_max_norm_leaves_the_short_alone_and_takes_another_axis():
    plain = after(optax.identity())
    loose = after(optim.max_norm(1e3))
    jax.tree.map(np.testing.assert_allclose, loose, plain)
    rows = after(optim.max_norm(1.0, mask="conv/kernel", axis=-2))["conv"]["kernel"]
    np.testing.assert_allclose(np.sum(np.square(rows), axis=(0, 1, 3)), 1.0, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("decay", [0.1, optim.diminishing(0.5)])
def test_decay_is_a_share_of_the_weights_whatever_the_update(decay, steps):
    decayed = after(optim.decay_weights(decay, mask="conv/*"), steps)
    weight, update = (np.float64(tree["conv"]["kernel"]) for tree in (PARAMS, UPDATES))
    for step in range(steps):
        share = float(decay(step)) if callable(decay) else decay
        weight = (1 - share) * weight + update
    np.testing.assert_allclose(decayed["conv"]["kernel"], weight, rtol=1e-5, atol=1e-5)
    plain = after(optax.identity(), steps)
    np.testing.assert_array_equal(
        np.float32(decayed["narrow"]["kernel"]), np.float32(plain["narrow"]["kernel"])
    )


def test_decay_at_the_rate_is_adamws(standard_promotion):
    """w ← w − ηλw: adamw multiplies λ by the rate."""
    rate, decay = 0.1, 0.3
    ours = after(optax.chain(optim.adam(rate), optim.decay_weights(rate * decay)))
    theirs = after(optax.adamw(rate, weight_decay=decay))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=2e-2),
        ours["narrow"],
        theirs["narrow"],
    )
    np.testing.assert_allclose(ours["conv"]["kernel"], theirs["conv"]["kernel"], rtol=1e-5)


def test_a_soft_threshold_makes_exact_zeros_that_updates_can_leave_again():
    threshold = optim.proximal(1.0, optim.l1(2.0, mask="**/kernel"))
    small = after(threshold)["conv"]["kernel"]
    moved = np.float64(PARAMS["conv"]["kernel"] + UPDATES["conv"]["kernel"])
    np.testing.assert_array_equal(small == 0, np.abs(moved) <= 2.0)
    expected = np.sign(moved) * np.maximum(np.abs(moved) - 2.0, 0)
    np.testing.assert_allclose(small, expected, rtol=1e-5, atol=1e-6)


def test_the_parts_chain_with_any_optimizer():
    optimizer = optax.chain(
        optim.adam(0.1),
        optim.decay_weights(0.01, mask="**/kernel"),
        optim.proximal(0.1, optim.l1(1.0, mask="conv/kernel")),
        optim.max_norm(2.0, mask="conv/kernel"),
    )
    params = after(optimizer, 10)
    assert (
        np.linalg.norm(np.float64(params["conv"]["kernel"]).reshape(-1, 6), axis=0).max() <= 2.00001
    )
    assert params["frozen"]["kernel"] is None
