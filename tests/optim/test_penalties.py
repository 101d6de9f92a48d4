"""Penalties against their definitions, their proximal steps against scipy and scikit-learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize
from sklearn import linear_model

from dlcore import optim, tree

RNG = np.random.default_rng(0)
PARAMS = {
    "conv": {"kernel": np.float32(RNG.normal(size=(3, 3, 2, 4)))},
    "frozen": None,
    "head": {
        "kernel": np.float32(RNG.normal(size=(5, 4))),
        "bias": np.float32(RNG.normal(size=4)),
    },
}
KERNELS = [np.float64(PARAMS[name]["kernel"]) for name in ("conv", "head")]
LEAVES = [*KERNELS, np.float64(PARAMS["head"]["bias"])]


def total(function, leaves):
    return sum(float(np.sum(function(leaf))) for leaf in leaves)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (optim.l1(0.3), 0.3 * total(np.abs, LEAVES)),
        (optim.l1(0.3, mask="**/kernel"), 0.3 * total(np.abs, KERNELS)),
        (optim.l2(0.3, mask="head/*"), 0.3 * total(np.square, LEAVES[1:])),
        # Lecture B: (λ/2m) Σ|θ| and (λ/2m) Σθ² over all θ, with m training examples.
        (optim.l1(7.0, examples=50), 7.0 / (2 * 50) * total(np.abs, LEAVES)),
        (optim.l2(7.0, examples=50), 7.0 / (2 * 50) * total(np.square, LEAVES)),
        (
            optim.elastic_net(0.3, l1_ratio=0.2),
            0.3 * (0.2 * total(np.abs, LEAVES) + 0.5 * 0.8 * total(np.square, LEAVES)),
        ),
        (
            optim.group_lasso(0.3),
            0.3
            * sum(
                np.sqrt(k[..., i, :].size) * np.linalg.norm(k[..., i, :])
                for k in KERNELS
                for i in range(k.shape[-2])
            ),
        ),
        (
            optim.group_lasso(0.3, mask="head/kernel", axis=-1),
            0.3 * np.sqrt(5) * np.linalg.norm(KERNELS[1], axis=0).sum(),
        ),
    ],
)
def test_is_its_definition(penalty, expected):
    assert float(jax.jit(penalty)(PARAMS)) == pytest.approx(expected, rel=1e-5)


def test_subgradients_at_zero_are_zero():
    """Sign 0 = 0, and the norm of a zero group has no direction."""
    params = {"kernel": np.float32([[0.0, 0.0], [3.0, -4.0]])}
    penalties = [(optim.l1(0.5), [0.5, -0.5]), (optim.group_lasso(0.5), [0.6, -0.8])]
    for penalty, second_row in penalties:
        slope = jax.jit(jax.grad(penalty))(params)["kernel"]
        assert not np.any(slope[0])
        scale = 1 if penalty is penalties[0][0] else 0.5 * np.sqrt(2)
        np.testing.assert_allclose(slope[1], scale * np.asarray(second_row), rtol=1e-6)


def test_sums_are_wide_and_gradients_narrow():
    """In bfloat16 a sum of 1000 ones would end at 256."""
    params = jnp.ones(1000, jnp.bfloat16)
    assert float(jax.jit(optim.l2(1.0))(params)) == 1000
    assert jax.eval_shape(jax.grad(optim.l1(1.0)), params).dtype == jnp.bfloat16


@pytest.mark.parametrize("frozen", [{"a": None}, {"a": None, "b": jnp.ones(2)}])
def test_nothing_to_penalise_is_nothing(frozen):
    assert float(optim.l1(1.0, mask="a")(frozen)) == 0.0
    assert not any(
        np.any(slope) for slope in jax.tree.leaves(jax.grad(optim.l1(1.0, mask="a"))(frozen))
    )


@pytest.mark.parametrize(
    "penalty",
    [
        optim.l1(0.7),
        optim.l2(0.7),
        optim.elastic_net(0.7, l1_ratio=0.3),
        optim.group_lasso(0.3, mask="**"),
        optim.group_lasso(0.3, mask="**", axis=-1),
    ],
)
@pytest.mark.parametrize("t", [0.5, 2.0])
def test_the_proximal_step_minimises_what_it_should(penalty, t):
    """prox(x, t) = argmin_z ½‖z − x‖² + t R(z), against scipy's derivative-free search."""
    x = np.asarray([[1.4, -0.4], [0.2, 0.3]])
    compiled = jax.jit(penalty)

    def cost(z):
        value = float(compiled(np.float32(z.reshape(x.shape))))
        return 0.5 * np.sum((z - x.ravel()) ** 2) + t * value

    found = jax.jit(penalty.prox)(np.float32(x), np.float32(t))
    best = optimize.minimize(
        cost, np.asarray(found).ravel() + 0.05, method="Powell", options={"xtol": 1e-6}
    )
    np.testing.assert_allclose(found, best.x.reshape(x.shape), atol=2e-3)
    assert cost(np.asarray(found, np.float64).ravel()) <= best.fun + 1e-5


def regression_problem(informative=3, features=12, n=60):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, features))
    w = np.where(np.arange(features) < informative, rng.normal(size=features) * 3, 0.0)
    return x, x @ w + 0.1 * rng.normal(size=n)


def descended(penalised, x, y, steps=3000):
    x, y = np.float32(x), np.float32(y)
    loss = lambda p: jnp.mean((x @ p["kernel"] - y) ** 2) / 2  # noqa: E731
    start = {"kernel": np.zeros((x.shape[1], *y.shape[1:]), np.float32)}

    def step(_, carry):
        params, state = carry
        updates, state = penalised.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    run = jax.jit(lambda start: jax.lax.fori_loop(0, steps, step, (start, penalised.init(start))))
    return run(start)[0]


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_proximal_descent_finds_scikit_learns_solution_with_its_zeros(l1_ratio):
    """Lasso and elastic net: (1/2n)‖y − Xw‖² + α(ρ‖w‖₁ + ½(1 − ρ)‖w‖²)."""
    x, y = regression_problem()
    penalty = optim.elastic_net(0.3, mask="kernel", l1_ratio=l1_ratio)
    ours = descended(optax.chain(optim.sgd(0.1), optim.proximal(0.1, penalty)), x, y)
    theirs = linear_model.ElasticNet(alpha=0.3, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-8)
    expected = theirs.fit(x, y).coef_
    np.testing.assert_allclose(ours["kernel"], expected, atol=1e-4)
    np.testing.assert_array_equal(ours["kernel"] == 0, expected == 0)
    assert float(tree.sparsity(ours)) == pytest.approx(np.mean(expected == 0))
    assert np.any(expected == 0)


def test_the_gradient_of_the_penalty_comes_near_but_not_to_zero():
    x, y = regression_problem()
    penalty = optim.l1(0.3)
    ours = descended(optax.chain(optim.add_penalty(penalty), optim.sgd(0.1)), x, y)
    exact = descended(optax.chain(optim.sgd(0.1), optim.proximal(0.1, penalty)), x, y)
    np.testing.assert_allclose(ours["kernel"], exact["kernel"], atol=0.05)
    assert tree.sparsity(ours) == 0 < tree.sparsity(exact)


def test_l2_in_the_gradient_is_ridge_regression_and_pytorchs_weight_decay():
    """l2(λ/2) adds λθ; its solution is in closed form."""
    x, y = regression_problem()
    decay = 0.2
    ours = descended(optax.chain(optim.add_penalty(optim.l2(decay / 2)), optim.sgd(0.1)), x, y)
    n = len(y)
    expected = np.linalg.solve(x.T @ x / n + decay * np.eye(x.shape[1]), x.T @ y / n)
    np.testing.assert_allclose(ours["kernel"], expected, atol=1e-4)
    theirs = descended(optax.chain(optax.add_decayed_weights(decay), optim.sgd(0.1)), x, y)
    np.testing.assert_allclose(ours["kernel"], theirs["kernel"], rtol=1e-5, atol=1e-6)


def test_a_scheduled_rate_reaches_the_same_zeros():
    """The threshold ηₜλ follows the rate."""
    x, y = regression_problem()
    rate, penalty = optim.inverse_time(0.1, 1e-3), optim.l1(0.3, mask="kernel")
    falling = descended(optax.chain(optim.sgd(rate), optim.proximal(rate, penalty)), x, y, 10_000)
    steady = descended(optax.chain(optim.sgd(0.1), optim.proximal(0.1, penalty)), x, y)
    np.testing.assert_allclose(falling["kernel"], steady["kernel"], atol=1e-4)
    np.testing.assert_array_equal(falling["kernel"] == 0, steady["kernel"] == 0)


def test_group_lasso_drops_whole_inputs():
    """Feature selection: two outputs, of which noise inputs keep no weight at all."""
    x, y = regression_problem()
    targets = np.stack([y, x[:, 0] - x[:, 1]], axis=1)
    # The loss is a mean over both outputs too, so its rate is twice that of the proximal step.
    optimizer = optax.chain(optim.sgd(0.2), optim.proximal(0.1, optim.group_lasso(0.1)))
    kernel = np.asarray(descended(optimizer, x, targets, 2000)["kernel"])
    assert np.all(kernel[:3] != 0)
    assert np.all(kernel[3:] == 0)
