"""The objective of autoencoders: what is measured, corrupted and added."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, rel_entr

from dlcore import functional as F
from dlcore import models, nn, train
from dlcore.data import augment

X = np.random.default_rng(0).random((6, 4)).astype(np.float32)
WEIGHT = np.array([1, 0, 2, 1, 0, 1], np.float32)


@pytest.fixture(scope="module")
def network():
    layer = models.autoencoder(4, (), 3, code_activation=F.sigmoid)
    return layer, *layer.init(jax.random.key(0))


def code_of(params):
    one = params["encoder"]["linear1"]
    return expit(X @ np.asarray(one["kernel"]) + np.asarray(one["bias"]))


def test_all_that_is_asked(network):
    layer, params, state = network
    objective = train.reconstruction(layer, l1=0.3, kl=0.5, rho=0.1, contraction=0.2)
    batch = {"x": X, "weight": WEIGHT, "y": np.zeros(6, np.int32)}
    loss, (_, measured) = jax.jit(objective)(params, state, batch)
    last = params["decoder"]["linear1"]
    h = code_of(params)
    error = np.square(h @ np.asarray(last["kernel"]) + np.asarray(last["bias"]) - X).mean(1)
    share = np.average(h, axis=0, weights=WEIGHT)
    kernel = np.asarray(params["encoder"]["linear1"]["kernel"])
    expected = {
        "loss": np.average(error, weights=WEIGHT),
        "l1": 0.3 * np.average(h.sum(1), weights=WEIGHT),
        "kl": 0.5 * (rel_entr(0.1, share) + rel_entr(0.9, 1 - share)).sum(),
        "contraction": 0.2
        * np.average(np.square(h * (1 - h)) @ np.square(kernel).sum(0), weights=WEIGHT),
    }
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(measured[name].value(), value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(loss, sum(expected.values()), rtol=1e-4)
    # Exact for any batch size, where none is one of 6 examples.
    found = train.evaluate(objective, params, state, batch, batch_size=4)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


def test_what_is_corrupted_is_to_come_back_as_it_was(network):
    layer, params, state = network
    objective = train.reconstruction(layer, corrupt=lambda key, x: jnp.zeros_like(x))
    loss = jax.jit(lambda: objective(params, state, {"x": X}, key=jax.random.key(0))[0])()
    blank, _ = layer.apply(params, state, np.zeros_like(X))
    np.testing.assert_allclose(loss, np.square(blank - X).mean(), rtol=1e-5)
    with pytest.raises(ValueError, match="draws here, and needs a key"):
        objective(params, state, {"x": X})
    masked = train.reconstruction(layer, corrupt=augment.masking(0.5))
    step = jax.jit(lambda key: masked(params, state, {"x": X}, key=key, train=True)[0])
    assert step(jax.random.key(0)) != step(jax.random.key(1))


def test_logits_of_pixels(network):
    layer, params, state = network
    objective = train.reconstruction(layer, loss=F.binary_cross_entropy)
    h = layer.apply(params, state, X)[0]
    nats = -(X * np.log(expit(h)) + (1 - X) * np.log(1 - expit(h))).sum(1).mean()
    np.testing.assert_allclose(objective(params, state, {"x": X})[0], nats, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (
            lambda: train.reconstruction(nn.serial(nn.linear(4, 4)), contraction=1.0),
            ValueError,
            "no part called encoder",
        ),
        (
            lambda: train.reconstruction(models.autoencoder(), kl=-1.0),
            ValueError,
            r"kl is -1\.0, but λ ≥ 0",
        ),
        (
            lambda: train.reconstruction(models.autoencoder(), noise=0.1),
            TypeError,
            "reconstruction has no noise",
        ),
    ],
)
def test_refuses(make, error, told):
    with pytest.raises(error, match=told):
        make()


def test_a_distribution_has_another_objective():
    layer = models.vae(4, (3,), 2)
    params, state = layer.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"gives a distribution, and no numbers: train.variational"):
        train.reconstruction(layer)(params, state, {"x": X})


def test_what_is_asked_of_the_code_is_computed_in_the_policys_precision(network):
    """What with_precision puts around a layer is around its parts."""
    layer, params, state = network
    low = train.with_precision(layer, "bfloat16")
    objective = train.reconstruction(low, contraction=1.0)
    program = str(jax.make_jaxpr(lambda: objective(params, state, {"x": X})[1][1]["contraction"])())
    assert "bf16" in program


def test_a_column_that_nobody_reads_is_refused(network):
    layer, params, state = network
    with pytest.raises(ValueError, match="neither the objective nor the autoencoder reads"):
        train.reconstruction(layer)(params, state, {"x": X, "label": WEIGHT})
