from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from tests.functional.conftest import TWICE, assert_derivatives

X = np.random.default_rng(0).normal(0, 3, (2, 3, 4, 9)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 4, 5, 30])
def test_is_the_equation(size):
    alpha, beta, k = 0.2, 0.6, 1.5
    expected = np.zeros(X.shape)
    for i in range(9):
        around = X[..., max(0, i - size // 2) : i + (size - 1) // 2 + 1].astype(np.float64)
        expected[..., i] = X[..., i] / (k + alpha * (around**2).sum(-1)) ** beta

    @jax.jit
    def of_all_and_of_a_row(x):
        return [F.local_response_norm(one, size, alpha, beta, k) for one in (x, x[0, 0])]

    ours, row = of_all_and_of_a_row(X)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)
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
    both = jax.jit(lambda x: [F.local_response_norm(x, *a) for a in ((), (5, 1e-4, 0.75, 2.0))])
    np.testing.assert_array_equal(*both(X))


def test_derivatives_of_any_order_and_mode(x64):
    x = X[0, 0, 0, :5].astype(float)
    assert_derivatives(lambda x: F.local_response_norm(x, 3, 0.3), x, TWICE)


def test_bfloat16_stays_and_adds_up_in_float32():
    x = X.astype(jnp.bfloat16)
    both = jax.jit(lambda *xs: [F.local_response_norm(x, alpha=0.1) for x in xs])
    y, exact = both(x, x.astype(np.float32))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, np.asarray(exact).astype(jnp.bfloat16))


def test_refuses():
    for size in (0, 2.5):
        with pytest.raises(ValueError, match=f"size is {size}, but size ≥ 1 is wanted"):
            F.local_response_norm(X, size)
    with pytest.raises(TypeError, match="x is int32"):
        F.local_response_norm(np.ones((2, 3), np.int32))
