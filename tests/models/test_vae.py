"""Variational autoencoders: sizes, their distributions, and a label that tells them apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import models, tree


@pytest.mark.parametrize(
    ("likelihood", "kind", "further"),
    [("bernoulli", F.Bernoulli, 0), ("gaussian", F.Gaussian, 1), ("grey", F.GreyBernoulli, 0)],
)
def test_what_goes_in_comes_out_as_a_distribution(likelihood, kind, further):
    layer = models.vae((4, 3, 1), (5,), 2, likelihood=likelihood)
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((7, 4, 3, 1), jnp.float32)
    p = jax.eval_shape(lambda params, x: layer.apply(params, state, x)[0], params, x)
    assert type(p) is kind
    assert {leaf.shape for leaf in p} == {(7, 4, 3, 1)}
    assert tree.count(params) == 12 * 5 + 5 + 5 * 4 + 4 + 2 * 5 + 5 + 5 * 12 + 12 + further


def test_defaults():
    for layer, count in ((models.vae(), 1_346_864), (models.conditional_vae(), 1_356_864)):
        params, _ = jax.eval_shape(layer.init, jax.random.key(0))
        assert tree.count(params) == count
    assert models.conditional_vae().info.reads == {"label"}


def test_it_draws_its_code_in_training_alone():
    layer = models.vae(6, (5,), 2)
    params, state = layer.init(jax.random.key(0))
    x = np.ones((3, 6), np.float32)

    @jax.jit
    def logits(key):
        def given(train):
            return layer.apply(params, state, x, key=key, train=train)[0].logits

        return given(False), given(True)

    (plain, drawn), (again, other) = map(logits, jax.random.split(jax.random.key(1)))
    np.testing.assert_array_equal(plain, again)
    assert (drawn != other).all()
    assert (drawn != plain).all()
    with pytest.raises(ValueError, match="draws its code in training: apply"):
        layer.apply(params, state, x, train=True)


def test_a_conditional_one_reads_its_label_at_both_ends():
    layer = models.conditional_vae(6, (5,), 2, 3)
    params, state = layer.init(jax.random.key(0))
    x = np.ones((3, 6), np.float32)
    apply = jax.jit(lambda params, label: layer.apply(params, state, x, label=label)[0].logits)
    logits = apply(params, jnp.arange(3))
    assert (logits[0] != logits[1]).all()
    for part in ("encoder", "decoder"):  # blind at the one end, it sees the label at the other
        kernel = params[part]["linear1"]["kernel"]
        blind = {
            **params[part],
            "linear1": {**params[part]["linear1"], "kernel": kernel.at[-3:].set(0)},
        }
        assert (apply({**params, part: blind}, jnp.arange(3))[0] != logits[0]).any()
    with pytest.raises(TypeError, match="conditional_vae reads 'label', which was not given"):
        layer.apply(params, state, x)
    with pytest.raises(ValueError, match="must be one of the 3 classes"):
        layer.apply(params, state, x, label=np.array([0, 1, 3]))


def test_refuses():
    with pytest.raises(ValueError, match="likelihood is 'normal', but must be one of"):
        models.vae(likelihood="normal")
    with pytest.raises(ValueError, match="needs latent ≥ 1"):
        models.vae(latent=0)
