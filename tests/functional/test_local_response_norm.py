from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dlcore import functional as F

X = np.random.default_rng(0).normal(0, 3, (2, 3, 4, 9)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 4, 5, 30])
def test_is_the_equation(size):
    alpha, beta, k = 0.2, 0.6, 1.5
    expected = np.zeros(X.shape)
    for i in range(9):
        around = X[..., max(0, i - size // 2) : i + (size - 1) // 2 + 1].astype(np.float64)
        expected[..., i] = X[..., i] / (k + alpha * (around**2).sum(-1)) ** beta
    ours = F.local_response_norm(jnp.asarray(X), size, alpha, beta, k)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)
    row = F.local_response_norm(X[0, 0], size, alpha, beta, k)
    np.testing.assert_allclose(row, expected[0, 0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [1, 4, 5])
def test_equals_torch_whose_alpha_is_divided_by_the_size(size, torch):
    images = torch.tensor(np.transpose(X, (0, 3, 1, 2)), requires_grad=True)
    expected = torch.nn.functional.local_response_norm(images, size, size * 0.1, 0.75, 2.0)
    (expected_gradient,) = torch.autograd.grad((expected**2).sum(), images)

    def loss(x):
        y = F.local_response_norm(x, size, alpha=0.1)
        return jnp.sum(y**2), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(X)
    for ours, theirs in [(y, expected.detach()), (gradient, expected_gradient)]:
        np.testing.assert_allclose(
            ours, np.transpose(theirs.numpy(), (0, 2, 3, 1)), rtol=1e-4, atol=1e-5
        )


def test_defaults_are_the_papers():
    np.testing.assert_array_equal(
        F.local_response_norm(X), F.local_response_norm(X, 5, 1e-4, 0.75, 2.0)
    )


def test_derivatives_of_any_order_and_mode(x64):
    x = jnp.asarray(X[:1, :1, :1, :5], jnp.float64)
    check_grads(jax.jit(lambda x: F.local_response_norm(x, 3, 0.3)), (x,), order=2)


def test_bfloat16_stays_and_adds_up_in_float32():
    x = jnp.asarray(X, jnp.bfloat16)
    y = F.local_response_norm(x, alpha=0.1)
    assert y.dtype == jnp.bfloat16
    exact = F.local_response_norm(x.astype(jnp.float32), alpha=0.1).astype(jnp.bfloat16)
    np.testing.assert_array_equal(y.astype(jnp.float32), exact.astype(jnp.float32))


def test_refuses():
    for size in (0, 2.5):
        with pytest.raises(ValueError, match=f"size is {size}, but size ≥ 1 is wanted"):
            F.local_response_norm(X, size)
    with pytest.raises(TypeError, match="x is int32"):
        F.local_response_norm(jnp.ones((2, 3), jnp.int32))
