from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import nn

X = np.random.default_rng(0).normal(size=(2, 3, 4, 8)).astype(np.float32)


def test_is_equations_2_to_4():
    layer = nn.squeeze_excitation(8, ratio=4)
    params, state = layer.init(jax.random.key(0))
    reduce, expand = (np.asarray(params[name]["kernel"]) for name in ("reduce", "expand"))
    assert (reduce.shape, expand.shape, state) == ((8, 2), (2, 8), ())
    z = X.mean((1, 2))
    s = 1 / (1 + np.exp(-np.maximum(z @ reduce, 0) @ expand))
    y, _ = jax.jit(layer.apply)(params, state, X)
    np.testing.assert_allclose(y, X * s[:, None, None], rtol=1e-5, atol=1e-6)


def test_equals_torch(torch):
    layer = nn.squeeze_excitation(8, ratio=4)
    params, state = layer.init(jax.random.key(1))
    reduce, expand = (torch.tensor(np.array(params[n]["kernel"])) for n in ("reduce", "expand"))
    x = torch.tensor(X, requires_grad=True)
    expected = x * torch.sigmoid(torch.relu(x.mean((1, 2), keepdim=True) @ reduce) @ expand)
    (expected_gradient,) = torch.autograd.grad((expected**2).sum(), x)

    def loss(x):
        y, _ = layer.apply(params, state, x)
        return (y**2).sum(), y

    gradient, y = jax.grad(loss, has_aux=True)(X)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


def test_has_the_papers_parameters():
    """2·C²/r, as in equation 5: 524,288 for the 2,048 channels of ResNet's last stage."""
    assert nn.summary(nn.squeeze_excitation(2048), (1, 7, 7, 2048)).parameters == 524_288


def test_refuses():
    with pytest.raises(ValueError, match="channels that ratio divides, got channels=24, ratio=16"):
        nn.squeeze_excitation(24)
    layer = nn.squeeze_excitation(4, 2)
    params, state = layer.init(jax.random.key(2))
    with pytest.raises(ValueError, match=r"expected \[B, H, W, 4\], got float32\[2, 3, 4, 8\]"):
        layer.apply(params, state, X)
