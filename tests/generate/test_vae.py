"""What a variational autoencoder is asked for: codes, examples, likelihoods, ways between codes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlcore import functional as F
from dlcore import models, nn
from dlcore.generate import vae


def with_wide_codes(layer, seed):
    """Its parameters, with q(z|x) = N(0, e) whatever x: wider than any posterior."""
    params, state = layer.init(jax.random.key(seed))
    last = params["encoder"]["linear2"]
    wide = {
        "kernel": jnp.zeros_like(last["kernel"]),
        "bias": jnp.repeat(jnp.arange(2.0), len(last["bias"]) // 2),
    }
    return {**params, "encoder": {**params["encoder"], "linear2": wide}}, state


@pytest.fixture(scope="module")
def network():
    layer = models.conditional_vae((2, 3, 1), (4,), 2, 3)
    return layer, *layer.init(jax.random.key(0))


def bits(count, seed=0):
    return (np.random.default_rng(seed).random((count, 2, 3, 1)) < 0.5).astype(np.float32)


def test_codes_and_examples(network):
    x, label = bits(4), np.arange(4) % 3
    q = vae.encode(*network, x, label=label)
    assert q.mean.shape == q.log_variance.shape == (4, 2)
    layer, params, state = network
    again, _ = layer.apply(params, state, x, label=label)
    np.testing.assert_allclose(
        vae.decode(*network, q.mean, label=label).logits, again.logits, rtol=1e-5
    )
    drawn = vae.sample(*network, 5, key=jax.random.key(0), label=np.zeros(5, np.int32))
    assert drawn.shape == (5, 2, 3, 1)
    assert isinstance(drawn, np.ndarray)
    assert (drawn > 0).all()
    assert (drawn < 1).all()
    np.testing.assert_array_equal(
        drawn, vae.sample(*network, 5, key=jax.random.key(0), label=np.zeros(5, np.int32))
    )


def test_the_likelihoods_of_all_images_sum_to_one():
    """Over the 2⁴ that there are, log p(x) by many codes is a distribution's."""
    layer = models.vae(4, (8,), 2)
    params, state = with_wide_codes(layer, 3)
    every = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(np.float32)
    nats = vae.log_prob(layer, params, state, every, key=jax.random.key(0), samples=4_000)
    np.testing.assert_allclose(np.exp(nats).sum(), 1, atol=0.02)


def test_the_likelihood_is_the_integral_over_the_code():
    """p(x) = ∫ p(x|z) p(z) dz, by quadrature over a code of one number."""
    layer = models.vae(3, (6,), 1)
    params, state = with_wide_codes(layer, 2)
    x = np.array([[0, 1, 1], [1, 1, 0]], np.float32)
    z = np.linspace(-6, 6, 2_001, dtype=np.float32)
    logits = np.asarray(vae.decode(layer, params, state, z[:, None]).logits)
    h = 1 / (1 + np.exp(-logits))
    each = np.where(x[:, None] == 1, h, 1 - h).prod(-1)
    exact = np.trapezoid(each * stats.norm.pdf(z), z, axis=1)
    nats = vae.log_prob(layer, params, state, x, key=jax.random.key(0), samples=5_000)
    np.testing.assert_allclose(nats, np.log(exact), atol=0.02)


def test_each_example_has_draws_of_its_own(network):
    x, label = np.repeat(bits(1), 3, axis=0), np.zeros(3, np.int32)
    nats = vae.log_prob(*network, x, key=jax.random.key(0), samples=3, label=label)
    assert len(set(nats.tolist())) == 3
    alone = vae.log_prob(*network, x[:1], key=jax.random.key(0), samples=3, label=label[:1])
    np.testing.assert_allclose(alone, nats[:1], rtol=1e-5)
    others = vae.log_prob(
        *network, bits(60), key=jax.random.key(0), samples=3, label=np.zeros(60, np.int32)
    )
    assert others.shape == (60,)
    assert np.isfinite(others).all()


def test_what_has_no_likelihood_is_refused(network):
    grey = np.full((2, 2, 3, 1), 0.5, np.float32)
    with pytest.raises(ValueError, match="is 0 or 1 here"):
        vae.log_prob(*network, grey, key=jax.random.key(0), label=np.zeros(2, np.int32))
    layer = models.vae(4, (3,), 1, likelihood="grey")
    params, state = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match="gives a GreyBernoulli, which is no likelihood"):
        vae.log_prob(layer, params, state, np.zeros((2, 4), np.float32), key=jax.random.key(0))


def test_refuses(network):
    with pytest.raises(TypeError, match="reads 'label', which was not given"):
        vae.sample(*network, 5, key=jax.random.key(0))
    with pytest.raises(ValueError, match="count is 0, but a whole number ≥ 1"):
        vae.sample(*network, 0, key=jax.random.key(0))
    with pytest.raises(ValueError, match="parts encoder, decoder is wanted"):
        vae.encode(nn.serial(nn.linear(2, 2)), {}, (), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"label\[1\] is 3, but must be one of the 3 classes"):
        vae.sample(*network, 2, key=jax.random.key(0), label=[0, 3])
    with pytest.raises(
        ValueError, match=r"label is int32\[3\], but one for each of the 2 examples"
    ):
        vae.decode(*network, np.zeros((2, 2), np.float32), label=np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="log_prob was given no examples"):
        vae.log_prob(*network, bits(0), key=jax.random.key(0), label=np.zeros(0, np.int32))
    with pytest.raises(TypeError, match=r"sample takes an integer as count.*generate.vae.sample\("):
        vae.sample(*network, 2.5, key=jax.random.key(0))
    own = nn.wire(lambda parts, x, *, key, train: x, encoder=F.relu, decoder=F.relu)
    with pytest.raises(ValueError, match=r"nobody knows: decode\(layer, params, state"):
        vae.sample(own, (), (), 5, key=jax.random.key(0))


def test_ways_between_codes():
    a, b = np.array([3.0, 0.0]), np.array([0.0, 4.0])
    arc = vae.interpolate(a, b, 3)
    np.testing.assert_allclose(arc[[0, 2]], [a, b], atol=1e-6)
    np.testing.assert_allclose(arc[1], 3.5 * np.sqrt([0.5, 0.5]), rtol=1e-5)
    np.testing.assert_allclose(vae.interpolate(a, b, 3, spherical=False)[1], [1.5, 2], rtol=1e-6)
    # Without one arc between them, along the line.
    np.testing.assert_allclose(vae.interpolate(a, -a, 3)[1], 0, atol=1e-6)
    np.testing.assert_allclose(vae.interpolate(a, 2 * a, 3)[1], 1.5 * a, rtol=1e-6)
    rows = vae.interpolate(np.stack([a, b]), np.stack([b, a]), 5)
    assert rows.shape == (5, 2, 2)
    np.testing.assert_allclose(rows[1, 0], rows[3, 1], rtol=1e-5)
    with pytest.raises(ValueError, match="differ in shape"):
        vae.interpolate(a, b[None], 3)


def test_the_plane_has_the_quantiles_of_the_prior():
    z = vae.plane(3, 4, (1, 3)).reshape(3, 3, 4)
    third = stats.norm.ppf(1 / 6)
    np.testing.assert_allclose(z[0, :, 1], [third, 0, -third], atol=1e-6)
    np.testing.assert_allclose(z[:, 0, 3], [-third, 0, third], atol=1e-6)  # from the top down
    assert (z[..., [0, 2]] == 0).all()
