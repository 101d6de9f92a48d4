"""The bound of variational autoencoders, beside a network of which everything is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlcore import functional as F
from dlcore import generate, models, nn, optim, train

B, L = 6, 2
RNG = np.random.default_rng(0)
BITS = (RNG.random((B, 5)) < 0.5).astype(np.float32)
WEIGHT = np.array([1, 0, 2, 1, 0, 1], np.float32)


def linear_gaussian(slope=2.0, offset=1.0, noise=0.5, gap=0.0):
    """x = slope·z + offset + noise·ε in one dimension, with the exact posterior, or one moved by
    `gap`: then p(x) = N(offset, slope² + noise²)."""
    variance = slope**2 + noise**2

    def encoder(x):
        mean = slope * (x - offset) / variance + gap
        return F.Gaussian(mean, jnp.full_like(x, np.log(noise**2 / variance)))

    def decoder(z):
        return F.Gaussian(slope * z + offset, jnp.full_like(z, np.log(noise**2)))

    layer = nn.wire(lambda parts, x, *, key, train: x, encoder=encoder, decoder=decoder)
    return layer, stats.norm(offset, np.sqrt(variance))


X = RNG.normal(1, 2, (500, 1)).astype(np.float32)


def measured(layer, data, **how):
    objective = train.variational(layer, **how)
    params, state = layer.init(jax.random.key(0))
    return train.evaluate(objective, params, state, data)


@pytest.mark.parametrize("samples", [1, 3])
def test_with_the_exact_posterior_the_bound_is_the_likelihood(samples):
    """log p(x, z) − log q(z|x) is log p(x) whatever z; the analytic divergence leaves noise."""
    layer, truth = linear_gaussian()
    found = measured(layer, {"x": X}, samples=samples)
    slack = 1e-4 if samples > 1 else 4 * 1.5 / 500**0.5
    assert abs(-found["loss"] - truth.logpdf(X).mean()) < slack
    if samples == 1:
        np.testing.assert_allclose(
            found["loss"], found["reconstruction"] + found["divergence"], rtol=1e-5
        )
    assert found["active"] == 1


def test_with_another_posterior_it_lies_below_and_rises_with_the_samples():
    layer, truth = linear_gaussian(gap=0.3)
    bounds = [-measured(layer, {"x": X}, samples=k)["loss"] for k in (1, 5, 50)]
    exact = truth.logpdf(X).mean()
    assert bounds[0] < bounds[1] < bounds[2] < exact + 0.05
    # KL(q ‖ the exact posterior), which has the same variance: the gap of k = 1
    gap = 0.3**2 / (2 * 0.5**2 / (2**2 + 0.5**2))
    assert abs(exact - bounds[0] - gap) < 4 * 1.7 / 500**0.5
    drawn = generate.vae.log_prob(layer, (), (), X[:60], key=jax.random.key(0), samples=2_500)
    np.testing.assert_allclose(drawn, truth.logpdf(X[:60, 0]), atol=0.15)


@pytest.fixture(scope="module")
def network():
    layer = models.vae(5, (4,), L)
    return layer, *layer.init(jax.random.key(0))


def test_beta_and_free_bits_are_trainings(network):
    layer, params, state = network
    batch = {"x": BITS, "weight": WEIGHT, "y": np.zeros(B, np.int32)}

    @jax.jit
    def of(key):
        def losses(train_, **how):
            one = train.variational(layer, **how)
            return one(params, state, batch, key=key, train=train_)

        return (
            losses(False),
            losses(True, beta=3.0)[0],
            losses(True, free_bits=0.5)[0],
            losses(True, beta=2.0, free_bits=0.5)[0],
            losses(False, beta=3.0, free_bits=0.5)[0],
        )

    (plain, (_, found)), beta, free, both, evaluated = of(jax.random.key(1))
    q = generate.vae.encode(layer, params, state, BITS)
    each = np.average(np.asarray(q.divergence()), axis=0, weights=WEIGHT)
    error = found["reconstruction"].value()
    np.testing.assert_allclose(found["divergence"].value(), each.sum(), rtol=1e-5)
    np.testing.assert_allclose(plain, error + each.sum(), rtol=1e-5)
    np.testing.assert_allclose(beta, error + 3 * each.sum(), rtol=1e-5)
    np.testing.assert_allclose(free, error + np.maximum(each, 0.5).sum(), rtol=1e-5)
    np.testing.assert_allclose(both, error + 2 * np.maximum(each, 0.5).sum(), rtol=1e-5)
    np.testing.assert_allclose(evaluated, plain, rtol=1e-6)


def test_a_posterior_that_has_collapsed_is_said(network):
    layer, params, state = network
    last = params["encoder"]["linear2"]
    zeros = jax.tree.map(jnp.zeros_like, last)
    collapsed = {**params, "encoder": {**params["encoder"], "linear2": zeros}}
    objective = train.variational(layer)
    with pytest.warns(train.CollapseWarning, match="of 2 dimensions .* 0 nats, so z says nothing"):
        found = train.evaluate(objective, collapsed, state, {"x": BITS})
    assert found["active"] == 0
    assert found["divergence"] == 0


def test_what_does_not_count_may_be_nan(network):
    layer = models.vae(5, (4,), L, likelihood="gaussian")
    params, state = layer.init(jax.random.key(0))
    x = BITS.copy()
    x[1] = np.nan  # of weight 0
    found = train.evaluate(train.variational(layer), params, state, {"x": x, "weight": WEIGHT})
    assert all(map(np.isfinite, found.values()))


def test_its_parts_are_computed_in_the_policys_precision(network):
    layer, params, state = network
    low = train.with_precision(layer, "bfloat16")

    def program(layer):
        objective = train.variational(layer)
        key = jax.random.key(0)
        return str(jax.make_jaxpr(lambda: objective(params, state, {"x": BITS}, key=key)[0])())

    assert "bf16" in program(low)
    assert "bf16" not in program(layer)
    mean = generate.vae.encode(low, params, state, BITS).mean
    again = generate.vae.decode(low, params, state, mean)
    np.testing.assert_allclose(again.logits, low.apply(params, state, BITS)[0].logits, rtol=1e-5)


def test_other_networks_have_other_objectives():
    layer = models.autoencoder(5, (4,), L)
    params, state = layer.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"of an autoencoder the objective is train.reconstruction"):
        train.variational(layer)(params, state, {"x": BITS}, key=jax.random.key(0))
    grey = models.vae(5, (4,), L, likelihood="grey")
    params, state = grey.init(jax.random.key(0))
    with pytest.raises(ValueError, match="the decoder's GreyBernoulli is none: samples=1"):
        train.variational(grey, samples=2)(params, state, {"x": BITS}, key=jax.random.key(0))


def test_the_label_is_y():
    layer = models.conditional_vae(5, (4,), L, 3)
    params, state = layer.init(jax.random.key(0))
    objective = train.variational(layer)
    y = np.arange(B, dtype=np.int32) % 3
    by_y, by_label, other = (
        train.evaluate(objective, params, state, {"x": BITS, **given})["loss"]
        for given in ({"y": y}, {"label": y}, {"y": (y + 1) % 3})
    )
    assert by_y == by_label != other
    logits = train.predict(layer, params, state, {"x": BITS, "y": y}).logits
    expected = layer.apply(params, state, BITS, label=y)[0].logits
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    many = train.evaluate(train.variational(layer, samples=4), params, state, {"x": BITS, "y": y})
    assert np.isfinite(many["loss"])
    with pytest.raises(TypeError, match="reads 'label', which was not given"):
        objective(params, state, {"x": BITS}, key=jax.random.key(0))


def test_refuses(network):
    layer, params, state = network
    with pytest.raises(ValueError, match="variational draws codes"):
        train.variational(layer)(params, state, {"x": BITS})
    with pytest.raises(
        ValueError, match="parts encoder, decoder is wanted, but the serial has linear1"
    ):
        train.variational(nn.serial(nn.linear(5, 5)))(
            params, (), {"x": BITS}, key=jax.random.key(0)
        )
    with pytest.raises(ValueError, match="belong to the bound of one sample"):
        train.variational(layer, samples=5, beta=2.0)
    with pytest.raises(ValueError, match="samples=0"):
        train.variational(layer, samples=0)
    grey = {"x": np.full((B, 5), 0.25, np.float32)}
    step = train.make_step(train.variational(layer), optim.adam(1e-3))
    with pytest.raises(ValueError, match=r"Bernoulli.log_prob: x\[0, 0\] is 0.25"):
        next(
            train.fit(step, train.train_state(layer, step.optimizer), grey, epochs=1, batch_size=3)
        )


@pytest.mark.slow
def test_a_normal_distribution_is_learned():
    """Its likelihood is the entropy's, −½ log 2πeσ², by a network that could be anything."""
    x = np.random.default_rng(1).normal(3, 2, (4_000, 1)).astype(np.float32)
    layer = models.vae(1, (16,), 1, likelihood="gaussian", activation=F.tanh)
    optimizer = optim.adam(optim.warmup_cosine(1e-2, 1_000, warmup_steps=50))
    step = train.make_step(train.variational(layer), optimizer)
    *_, last = train.fit(
        step, train.train_state(layer, optimizer), {"x": x}, epochs=50, batch_size=200
    )
    fresh = np.random.default_rng(2).normal(3, 2, (200, 1)).astype(np.float32)
    params = last.state.params
    nats = generate.vae.log_prob(layer, params, (), fresh, key=jax.random.key(0), samples=1_000)
    expected = stats.norm(3, 2).logpdf(fresh[:, 0])
    assert abs(nats.mean() - expected.mean()) < 0.03
    z = jax.random.normal(jax.random.key(1), (4_000, 1))
    drawn = np.asarray(generate.vae.decode(layer, params, (), z).sample(jax.random.key(2)))
    assert abs(drawn.mean() - 3) < 0.2
    assert abs(drawn.std() - 2) < 0.2
