"""Autoencoders: sizes, tied weights, what is refused, and PCA by a linear one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import subspace_angles

from dlcore import functional as F
from dlcore import models, nn, optim, train, tree


def shapes(layer, x, **side):
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct(x, jnp.float32)
    return params, jax.eval_shape(lambda p, x, s: layer.apply(p, state, x, **s)[0], params, x, side)


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (models.autoencoder(), (28, 28, 1), 419_120),
        (models.autoencoder(5, (), 2), (5,), 12 + 15),
        # kernels once, and biases either way
        (models.autoencoder(6, (4, 3), 2, tied=True), (6,), 24 + 12 + 6 + 4 + 3 + 2 + 3 + 4 + 6),
        (models.conv_autoencoder(), (28, 28, 1), 118_913),
        (models.conv_autoencoder((8, 12, 3), (4,), 5), (8, 12, 3), None),
    ],
)
def test_what_goes_in_comes_out(layer, shape, count):
    params, y = shapes(layer, (2, *shape))
    assert y.shape == (2, *shape)
    assert count is None or tree.count(params) == count


def test_a_tied_decoder_has_the_encoders_kernels():
    layer = models.autoencoder(4, (3,), 2, tied=True, activation=F.tanh)
    params, state = layer.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    first, second = (np.asarray(params["encoder"][f"linear{k}"]["kernel"]) for k in (1, 2))
    expected = np.tanh(np.tanh(x @ first) @ second @ second.T) @ first.T
    np.testing.assert_allclose(layer.apply(params, state, x)[0], expected, rtol=1e-4, atol=1e-5)
    assert "encoder is tied" in repr(nn.summary(layer, (1, 4)))
    saved = params["decoder"]
    assert {path: leaf.shape for path, leaf in saved["transposed1"].items()} == {
        "bias1": (3,),
        "bias2": (4,),
    }


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda: models.autoencoder(hidden=256), TypeError, r"hidden=\(256,\)"),
        (
            lambda: models.autoencoder(tied=True, activation=nn.prelu()),
            TypeError,
            "got the layer prelu",
        ),
        (lambda: models.autoencoder(code=0), ValueError, "needs code ≥ 1"),
        (lambda: models.conv_autoencoder((30, 30, 1)), ValueError, "multiples of 4"),
        (lambda: models.conv_autoencoder(widths=16), TypeError, r"widths=\(16,\)"),
    ],
)
def test_refuses(make, error, told):
    with pytest.raises(error, match=told):
        make()


@pytest.mark.slow
def test_a_linear_one_spans_the_space_of_pca():
    """Baldi and Hornik 1989; by Muon, in whose updates no direction is small."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 12)) * np.geomspace(3, 0.5, 12) @ rng.normal(size=(12, 12))
    x = (x - x.mean(0)).astype(np.float32)
    layer = models.autoencoder(12, (), 4)
    optimizer = optim.muon(optim.warmup_cosine(0.02, 1_000, warmup_steps=50))
    step = train.make_step(train.reconstruction(layer), optimizer)
    start = train.train_state(layer, optimizer)
    *_, last = train.fit(step, start, {"x": x}, epochs=1_000, batch_size=200, every=1_000)
    kept = np.linalg.svd(x, full_matrices=False)[2][:4]
    own = np.asarray(last.state.params["decoder"]["linear1"]["kernel"])
    assert np.degrees(subspace_angles(own.T, kept.T)).max() < 1
    error = np.square(x @ kept.T @ kept - x).mean()
    found = train.evaluate(train.reconstruction(layer), last.state.params, (), {"x": x})["loss"]
    np.testing.assert_allclose(found, error, rtol=1e-3)
