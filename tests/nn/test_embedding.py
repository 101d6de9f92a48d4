from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import interop, nn

X = np.random.default_rng(0).integers(0, 5, (3, 4))


LAYER = nn.embedding(5, 3), {"embedding": np.zeros((5, 3), np.float32)}


def applied(layer, params, x):
    return layer.apply(params, (), x)[0]


def test_a_row_for_each_number_as_in_flax():
    layer = nn.embedding(5, 3)
    params, state = layer.init(jax.random.key(0))
    expected = linen.Embed(5, 3).apply({"params": params}, X)
    np.testing.assert_array_equal(applied(layer, params, X), expected)
    np.testing.assert_array_equal(applied(layer, params, X.astype(np.uint8)), expected)
    np.testing.assert_array_equal(applied(layer, params, X.tolist()), expected)
    assert state == ()


def test_it_is_torchs_values_and_gradient_padding_included(torch):
    module = torch.nn.Embedding(5, 3, padding_idx=2)
    layer = nn.embedding(5, 3, padding=2)
    params, _ = interop.from_torch(layer, module.state_dict())
    expected = module(torch.tensor(X))
    (expected**3).sum().backward()
    np.testing.assert_allclose(applied(layer, params, X), expected.detach().numpy(), rtol=1e-6)
    slope = jax.grad(lambda params: jnp.sum(applied(layer, params, X) ** 3))(params)
    np.testing.assert_allclose(slope["embedding"], module.weight.grad.numpy(), rtol=1e-5)


def test_padding_is_nothing_and_learns_nothing():
    layer = nn.embedding(5, 3, padding=2)
    params, _ = layer.init(jax.random.key(0))

    @jax.jit
    def slope(params):
        return jax.grad(lambda params: jnp.sum(jnp.exp(applied(layer, params, X))))(params)

    y = applied(layer, params, X)
    assert not y[X == 2].any()
    assert y[X != 2].all()
    moved = np.asarray(slope(params)["embedding"]).any(axis=1)
    assert moved.tolist() == [row in X and row != 2 for row in range(5)]


@pytest.mark.parametrize("bad", [-1, 5])
def test_what_is_outside_of_the_vocabulary_is_refused_and_in_a_program_nan(bad):
    layer = nn.embedding(5, 3)
    params, _ = layer.init(jax.random.key(0))
    x = X.copy()
    x[1, 2] = bad
    with pytest.raises(ValueError, match=rf"x\[1, 2\] is {bad}, but must be one of the 5 .* 0 … 4"):
        applied(layer, params, x)
    y = jax.jit(lambda x: applied(layer, params, x))(x)
    np.testing.assert_array_equal(np.isnan(y).all(-1), x == bad)
    np.testing.assert_array_equal(np.isnan(y).any(-1), x == bad)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: applied(*LAYER, X * 1.0), r"float64\[3, 4\]: x.astype\(jnp.int32"),
        (lambda: nn.embedding(5, 3, padding=5), "padding is 5, but 0 … 4 are there"),
        (lambda: nn.embedding(5, 3, padding=0, gathered=False), "leave it or gathered=False out"),
        (lambda: nn.embedding(0, 3), "needs vocabulary ≥ 1"),
        (lambda: nn.Embedding, "did you mean embedding"),
        (
            lambda: nn.embedding(num_embeddings=5, embedding_dim=3, padding_idx=0),
            r"write nn.embedding\(vocabulary=5, features=3, padding=0\)",
        ),
    ],
)
def test_what_does_not_fit_is_told(call, told):
    with pytest.raises((ValueError, TypeError, AttributeError), match=told):
        call()


@pytest.mark.parametrize("places", [3, 12])
def test_rows_are_what_a_function_of_each_makes_of_them_whichever_comes_first(places):
    """Fewer places than the table has rows, or more; by NumPy, the gradient by its own formula."""
    rng = np.random.default_rng(places)
    table, kernel = (rng.normal(size=size).astype(np.float32) for size in ((5, 3), (3, 4)))
    index = rng.integers(0, 5, places)
    seen = []

    def product(x):
        seen.append(x.shape[0])
        return x @ kernel

    def value(table):
        y = nn.Rows(table, index).gathered(product)
        return jnp.sum(y**2) / 2, y

    slope, y = jax.grad(value, has_aux=True)(table)
    np.testing.assert_allclose(y, table[index] @ kernel, rtol=1e-5, atol=1e-6)
    expected = np.zeros_like(table)
    np.add.at(expected, index, (table[index] @ kernel) @ kernel.T)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5)
    assert seen == [min(5, places)]


def test_what_is_not_gathered_is_for_recurrent_layers_alone():
    layer = nn.serial(nn.embedding(5, 3, gathered=False), nn.linear(3, 2))
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    with pytest.raises(AttributeError, match="leave gathered=False out of") as caught:
        jax.eval_shape(layer.apply, params, state, np.zeros((2, 4), np.int32))
    assert "in layer linear1 (linear)" in caught.value.__notes__[0]


def test_what_is_not_gathered_is_nan_outside_of_the_vocabulary_and_seen_gathered():
    layer = nn.embedding(5, 3, gathered=False)
    params, state = layer.init(jax.random.key(0))
    rows = jax.jit(lambda x: layer.apply(params, state, x)[0])(np.array([[-1, 0, 4, 5]]))
    assert (rows.shape, rows.dtype) == ((1, 4, 3), jnp.float32)
    y = np.asarray(rows.gathered())
    np.testing.assert_array_equal(np.isnan(y).all(-1), [[True, False, False, True]])
    np.testing.assert_array_equal(y[0, 1:3], params["embedding"][np.array([0, 4])])
    seen = nn.intermediates(nn.serial(layer), {"embedding1": params}, state, X)
    np.testing.assert_array_equal(seen["embedding1"], params["embedding"][X])
