"""What is known of the optimizers, apart from any other library's numbers."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from dlcore import optim


def updates_of(optimizer, grads, params=None):
    """The updates for the gradients along the leading axis of arrays, at parameters that stay."""
    (updates,) = all_at_once([optimizer], grads, params)
    return updates


def all_at_once(optimizers, grads, params=None):
    """The same of several optimizers, in one program."""
    params = jax.tree.map(lambda leaf: np.zeros_like(leaf[0]), grads) if params is None else params

    @jax.jit
    def run(grads):
        def step(states, grad):
            moved = [
                one.update(grad, state, params)
                for one, state in zip(optimizers, states, strict=True)
            ]
            updates, states = zip(*moved, strict=True)
            return states, updates

        return jax.lax.scan(step, tuple(one.init(params) for one in optimizers), grads)[1]

    return jax.tree.map(np.asarray, run(grads))


def grads_of(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


BOUNDS = {  # the largest stable rate on a quadratic, times λmax
    "sgd": (optim.sgd, 2.0),
    "momentum": (lambda rate: optim.momentum(rate, 0.8), 2 * (1 + 0.8)),
    "nesterov": (lambda rate: optim.nesterov(rate, 0.8), 2 * (1 + 0.8) / (1 + 2 * 0.8)),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_descent_on_a_quadratic_converges_below_its_bound_and_not_above(name):
    factory, bound = BOUNDS[name]
    curvatures = np.float32([0.5, 2.0, 5.0])

    def distance(rate):
        optimizer = factory(rate)

        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(curvatures * w, state, w)
            return (w + updates, state), None

        w = jnp.ones(3)
        (w, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), length=300)
        return jnp.linalg.norm(w)

    largest = bound / np.max(curvatures)
    below, above = jax.jit(jax.vmap(distance))(np.float32(largest * np.asarray([0.98, 1.02])))
    assert below < 1e-4
    assert above > 1e4


def test_without_decay_momentum_and_nesterov_are_gradient_descent():
    grads = grads_of(10, 4)
    expected = -np.float32(0.1) * grads
    optimizers = optim.sgd(0.1), optim.momentum(0.1, 0.0), optim.nesterov(0.1, 0.0)
    for updates in all_at_once(optimizers, grads):
        np.testing.assert_array_equal(updates, expected)


def test_momentum_multiplies_a_constant_gradient_by_one_over_one_minus_decay():
    last = updates_of(optim.momentum(0.1, 0.9), np.ones((300, 1), np.float32))[-1]
    np.testing.assert_allclose(last, [-0.1 / (1 - 0.9)], rtol=1e-5)


def velocities(form, grads, rates, decays):
    """The updates of lecture C ("polyak"), A ("average") and E ("classical"), as written there."""
    velocity, updates = np.zeros_like(grads[0], np.float64), []
    for grad, rate, decay in zip(np.asarray(grads, np.float64), rates, decays, strict=True):
        if form == "polyak":
            velocity = grad + decay * velocity
        elif form == "average":
            velocity = decay * velocity + (1 - decay) * grad
        else:
            velocity = decay * velocity - rate * grad
        updates.append(velocity if form == "classical" else -rate * velocity)
    return np.asarray(updates)


FALLING = optim.inverse_time(0.3, 0.2)
RISING = optim.linear(0.5, 0.99, 15)


@functools.cache
def values(number_or_schedule, steps):
    if not callable(number_or_schedule):
        return np.full(steps, number_or_schedule)
    return np.float64(jax.jit(jax.vmap(number_or_schedule))(np.arange(steps, dtype=np.int32)))


@pytest.mark.parametrize("form", ["polyak", "average", "classical"])
def test_momentum_in_the_three_forms_of_the_lectures(form):
    """Rate and γ constant or on a schedule; lecture E anneals γ from 0.5 to 0.99."""
    grads = grads_of(20, 3)
    rates, decays = (0.3, FALLING), (0.8, RISING, optim.annealed_momentum(3))
    pairs = list(itertools.product(rates, decays))
    every = all_at_once([optim.momentum(rate, decay, form) for rate, decay in pairs], grads)
    for ours, (rate, decay) in zip(every, pairs, strict=True):
        expected = velocities(form, grads, values(rate, 20), values(decay, 20))
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("rate", [0.3, FALLING])
def test_the_average_is_polyaks_form_at_a_smaller_rate(rate):
    """A(η) = C(η(1 − γ)), whatever the rate does."""
    grads, decay = grads_of(20, 3), 0.8
    smaller = (lambda t: (1 - decay) * rate(t)) if callable(rate) else (1 - decay) * rate
    both = optim.momentum(rate, decay, "average"), optim.momentum(smaller, decay)
    np.testing.assert_allclose(*all_at_once(both, grads), rtol=2e-5, atol=1e-7)


def test_the_classical_form_is_polyaks_only_while_the_rate_is_constant():
    grads = grads_of(20, 3)
    # Where the rate drops to nothing, Polyak's weights stop and the classical ones roll on.
    rates = 0.3, FALLING, optim.piecewise_constant(0.3, {10: 0.0})
    *classical, rolling = all_at_once([optim.momentum(r, 0.8, "classical") for r in rates], grads)
    *polyak, stopped = all_at_once([optim.momentum(r, 0.8) for r in rates], grads)
    np.testing.assert_allclose(classical[0], polyak[0], rtol=2e-5, atol=1e-7)
    assert not np.any(stopped[10:])
    np.testing.assert_allclose(rolling[11:], 0.8 * rolling[10:-1], rtol=1e-5)
    assert np.linalg.norm(np.subtract(classical[1], polyak[1])) > 0.1 * np.linalg.norm(polyak[1])


def test_a_scheduled_momentum_is_an_injected_one():
    grads = grads_of(20, 3)
    for factory in (optim.momentum, optim.nesterov):
        injected = optax.inject_hyperparams(factory)(0.1, momentum=RISING)
        np.testing.assert_array_equal(
            updates_of(factory(0.1, RISING), grads), updates_of(injected, grads)
        )


def test_adagrads_rate_falls_with_the_root_of_the_gradients_seen():
    """The n-th of equal gradients moves by η/√n, whatever their size; a rare one by η."""
    grads = np.full((9, 2), 7.0, np.float32)
    grads[:8, 1] = 0.0
    optimizer = optim.adagrad(0.1, initial_accumulator_value=0.0, eps=0.0)
    often, rare = updates_of(optimizer, grads).T
    np.testing.assert_allclose(often, -0.1 / np.sqrt(np.arange(1, 10)), rtol=1e-5)
    np.testing.assert_allclose(rare, [*[0] * 8, -0.1], rtol=1e-5)


def test_adadelta_is_zeilers_algorithm():
    grads, rho, eps = grads_of(30, 3), 0.9, 1e-4
    square, moved, expected = np.zeros(3), np.zeros(3), []
    for grad in np.asarray(grads, np.float64):
        square = rho * square + (1 - rho) * grad**2
        step = -np.sqrt(moved + eps) / np.sqrt(square + eps) * grad
        moved = rho * moved + (1 - rho) * step**2
        expected.append(step)
    ours = updates_of(optim.adadelta(rho=rho, eps=eps), grads)
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-7)
    assert not np.any(updates_of(optim.adadelta(eps=0.0), grads))


@pytest.mark.parametrize("b1", [0.0, 0.8])
def test_adam_as_the_lectures_write_it_has_no_bias_correction(b1):
    """Lectures A and E: μ/√ν; the first step is (1 − β₁)/√(1 − β₂) times the corrected one."""
    grads, b2 = grads_of(20, 3), 0.95
    mu, nu, expected = np.zeros(3), np.zeros(3), []
    for grad in np.asarray(grads, np.float64):
        mu, nu = b1 * mu + (1 - b1) * grad, b2 * nu + (1 - b2) * grad**2
        expected.append(-0.1 * mu / np.sqrt(nu))
    plain = updates_of(optim.adam(0.1, b1, b2, eps=0.0, bias_correction=False), grads)
    np.testing.assert_allclose(plain, expected, rtol=2e-5, atol=1e-7)
    corrected = updates_of(optim.adam(0.1, b1, b2, eps=0.0), grads)
    ratio = (1 - b1) / np.sqrt(1 - b2)
    np.testing.assert_allclose(plain[0], ratio * corrected[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "decay"),
    [
        (optim.adam(0.1, mu_dtype=jnp.bfloat16), 0.9),
        (optim.lion(0.1, mu_dtype=jnp.bfloat16), 0.99),
        (optim.muon(0.1, mu_dtype=jnp.bfloat16), 0.95),
    ],
    ids=["adam", "lion", "muon"],
)
def test_what_is_kept_narrow_is_rounded_once_an_update(optimizer, decay):
    grads = grads_of(40, 3, 2, seed=9)
    start = np.zeros((3, 2), np.float32)
    run = jax.jit(
        lambda grads: jax.lax.scan(
            lambda state, g: optimizer.update(g, state, start)[::-1], optimizer.init(start), grads
        )[0]
    )
    mu = np.zeros((3, 2), jnp.bfloat16)
    for g in grads:
        mu = np.float64(np.float32(1 - decay)) * g + np.float64(np.float32(decay)) * np.float64(mu)
        mu = mu.astype(jnp.bfloat16)
    (kept,) = (
        leaf for _, leaf in optax.tree.get_all_with_path(run(grads), "mu") if hasattr(leaf, "dtype")
    )
    assert kept.dtype == jnp.bfloat16
    np.testing.assert_array_equal(kept, mu)


def test_amsgrad_converges_where_adam_does_not():
    """Reddi et al. 2018, theorem 1: on [−1, 1], gradients 3, −1, −1, 3, … have their minimum of the
    mean at −1. Adam with β₁ = 0, β₂ = 1/(1 + 3²) goes to the worst point, +1.
    """
    options = {"b1": 0.0, "b2": 0.1, "eps": 0.0, "bias_correction": False}

    @functools.partial(jax.jit, static_argnums=0)
    def end(factory):
        optimizer = factory(optim.diminishing(0.5, 0.5), **options)

        def step(t, carry):
            w, state = carry
            update, state = optimizer.update(jnp.where(t % 3 == 0, 3.0, -1.0), state)
            return jnp.clip(w + update, -1, 1), state

        return jax.lax.fori_loop(0, 3000, step, (jnp.zeros(()), optimizer.init(jnp.zeros(()))))[0]

    assert end(optim.adam) > 0.9
    assert end(optim.amsgrad) < -0.9


def test_lion_moves_every_weight_alike():
    grads = grads_of(20, 4)
    grads[:, 3] = 0.0
    updates = updates_of(optim.lion(0.1, weight_decay=0.0), grads)
    np.testing.assert_allclose(np.abs(updates[:, :3]), 0.1, rtol=1e-6)
    assert not np.any(updates[:, 3])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lamb_changes_every_leaf_by_one_share_of_its_norm(dtype):
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    params["zero"] = np.zeros(3).astype(dtype)
    grads = jax.tree.map(lambda p: rng.normal(size=(3, *p.shape)).astype(dtype), params)
    updates = updates_of(optim.lamb(0.01, weight_decay=0.1), grads, params)
    rtol = 1e-5 if dtype == "float32" else 2e-2
    for name in SHAPES:
        p = np.linalg.norm(np.float64(params[name]))
        for update in np.float64(updates[name]):
            assert np.linalg.norm(update) == pytest.approx(0.01 * p, rel=rtol)
    first = np.float32(updates_of(optim.lamb(0.01), grads, params)["zero"])[0]
    np.testing.assert_allclose(np.abs(first), 0.01, rtol=1e-2)  # ratio 1: Adam


SHAPES = {"kernel": (6, 4), "bias": (4,), "conv": (3, 3, 2, 5)}


@pytest.mark.parametrize(("shape", "stretch"), [((8, 3), 1.0), ((3, 12), 2.0), ((5, 5), 1.0)])
def test_muon_makes_the_singular_values_of_its_momentum_equal(shape, stretch):
    """Within the band where the iteration ends, in the same singular vectors."""
    rng = np.random.default_rng(0)
    u, _, vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    values = np.geomspace(1.0, 0.05, len(vt))
    grad = np.float32(u * values @ vt)
    update = updates_of(optim.muon(0.1), grad[None])[0]
    inner = u.T @ np.asarray(update, np.float64) @ vt.T / (-0.1 * stretch)
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-5)
    assert np.all((np.diag(inner) > 0.68) & (np.diag(inner) < 1.14))


SIZES = (1.0, 2.0**100, 2.0**-100)  # of which squares leave float32


def test_muon_does_not_see_the_size_of_the_gradient():
    muon = optim.muon(0.1, eps=0.0)
    every = [optax.chain(optax.scale(size), muon) for size in SIZES]
    plain, *scaled = all_at_once(every, grads_of(3, 6, 4, seed=8))
    for updates in scaled:
        np.testing.assert_allclose(updates, plain, rtol=1e-4, atol=1e-5)


def test_lamb_keeps_the_size_of_the_weights():
    weights, grads = grads_of(6, 4, seed=8), grads_of(3, 6, 4, seed=9)
    params = {str(size): weights * np.float32(size) for size in SIZES}
    updates = updates_of(optim.lamb(0.1), dict.fromkeys(params, grads), params)
    for size in SIZES:
        found = updates[str(size)] / np.float32(size)
        np.testing.assert_allclose(found, updates["1.0"], rtol=1e-4)


def test_muon_reads_a_kernel_as_a_matrix_of_its_outputs(standard_promotion):
    grads = grads_of(100, 3, 3, 2, 5)
    updates = updates_of(optim.muon(0.1, mask=True), grads)
    flat = updates_of(optim.muon(0.1), grads.reshape(100, 18, 5))
    np.testing.assert_allclose(updates.reshape(100, 18, 5), flat, rtol=1e-4, atol=1e-6)
    dimensions = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
    theirs = optax.contrib.muon(0.1, muon_weight_dimension_numbers=dimensions)
    ours, expected = (np.sum(moved, axis=0) for moved in (updates, updates_of(theirs, grads)))
    assert np.linalg.norm(ours - expected) <= 1e-6 * np.linalg.norm(expected)


def test_muon_leaves_what_is_no_matrix_to_nadamw(standard_promotion):
    grads = {"kernel": grads_of(5, 3, 4), "bias": grads_of(5, 4)}
    params = jax.tree.map(lambda g: g[0], grads)
    optimizer = optim.muon(0.3, adam_learning_rate=0.1, adam_weight_decay=0.2)
    updates = updates_of(optimizer, grads, params)
    expected = updates_of(optax.nadamw(0.1, weight_decay=0.2), grads["bias"], params["bias"])
    np.testing.assert_allclose(updates["bias"], expected, rtol=1e-5)


def test_a_mask_is_a_glob_a_tree_or_a_function():
    head = {"kernel": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)}
    params = {"head": head, "frozen": None}
    tree = {"head": {"kernel": True, "bias": False}, "frozen": None}
    zeros = jax.tree.map(lambda leaf: np.zeros_like(leaf)[None], params)
    optimizers = [
        factory(0.1, weight_decay=0.5, mask=mask)
        for factory in (optim.adamw, optim.lion, optim.lamb)
        for mask in ("**/kernel", tree, lambda p: jax.tree.map(lambda leaf: leaf.ndim > 1, p))
    ]
    for updates in all_at_once(optimizers, zeros, params):
        assert np.all(updates["head"]["kernel"] != 0)
        assert not np.any(updates["head"]["bias"])


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("eps_in_sqrt", [False, True])
def test_rmsprop_without_eps_never_moves_a_dead_input(centered, eps_in_sqrt):
    """Lecture A's form has no ε; 0/0 is read as 0, and the living neighbour moves as ever."""
    grads = grads_of(50, 2)
    grads[:, 1] = 0.0
    optimizer = optim.rmsprop(0.1, eps=0.0, centered=centered, eps_in_sqrt=eps_in_sqrt)
    alive, dead = updates_of(optimizer, grads).T
    assert np.all(dead == 0)
    assert np.all(np.isfinite(alive) & (alive * grads[:, 0] < 0))


def test_rmsprop_first_step_does_not_depend_on_the_gradients_size():
    """Lecture A: ν = (1 − γ)g² after one step, so the update is −η sign(g)/√(1 − γ)."""
    grads = np.float32([[1e-6, -1.0, 1e6, 0.0]])
    update = updates_of(optim.rmsprop(0.1, decay=0.9, eps=0.0), grads)[0]
    np.testing.assert_allclose(update, -0.1 / np.sqrt(1 - 0.9) * np.sign(grads[0]), rtol=1e-5)


def test_centered_rmsprop_stays_finite_where_rounding_makes_the_variance_negative():
    grads = np.broadcast_to(np.linspace(1, 100, 50, dtype=np.float32), (400, 50))
    assert np.all(np.isfinite(updates_of(optim.rmsprop(0.1, centered=True), grads)))


def test_adam_first_step_is_the_rate_against_the_sign():
    grads = np.float32([[1e-6, -1.0, 1e6, 0.0]])
    for factory in (optim.adam, lambda rate, eps: optim.adamw(rate, eps=eps, weight_decay=0.0)):
        update = updates_of(factory(0.1, eps=0.0), grads)[0]
        np.testing.assert_allclose(update, -0.1 * np.sign(grads[0]), rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.adam(0.1, eps=0.0),
        optim.rmsprop(0.1, eps=0.0),
        optim.rmsprop(0.1, eps=0, centered=True),
    ],
)
def test_adaptive_updates_do_not_depend_on_the_losses_scale(optimizer):
    grads = grads_of(30, 5)
    np.testing.assert_allclose(
        updates_of(optimizer, 1024 * grads), updates_of(optimizer, grads), rtol=1e-5
    )


def test_weight_decay_shrinks_what_the_mask_names_and_never_enters_the_moments():
    params = {"kernel": np.float32([2.0]), "bias": np.float32([2.0])}
    for mask in ({"kernel": True, "bias": False}, lambda p: {name: name == "kernel" for name in p}):
        optimizer = optim.adamw(0.1, weight_decay=0.5, mask=mask)
        zeros, state = jax.tree.map(np.zeros_like, params), optimizer.init(params)
        updates, state = jax.jit(optimizer.update)(zeros, state, params)
        np.testing.assert_allclose(updates["kernel"], [-0.1 * 0.5 * 2.0], rtol=1e-6)
        assert updates["bias"] == 0
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(optax.tree.get(state, "nu")))


@pytest.mark.parametrize(
    "optimizer",
    [optim.momentum(0.1), optim.nesterov(0.1), optim.adam(0.1, eps=0.0), optim.adagrad(0.1)]
    + [optim.nadam(0.1), optim.amsgrad(0.1, eps=0.0), optim.adadelta(), optim.lion(0.1)]
    + [optim.rmsprop(0.1, eps=0.0, centered=centered) for centered in (False, True)],
)
def test_a_gradient_that_is_nan_is_not_hidden(optimizer):
    """Reading 0/0 as 0 does not read NaN as 0, not even in the moments of the steps after."""
    updates = updates_of(optimizer, np.float32([[1.0, np.nan], [2.0, 1.0]]))
    assert np.isnan(updates).tolist() == [[False, True], [False, True]]
