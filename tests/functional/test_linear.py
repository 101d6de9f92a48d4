from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from dlcore.functional.linear import IN_LINE, NARROW
from tests.budget import examples

sizes = st.integers(1, 24)


def ones(*shape):
    return np.ones(shape, np.float32)


def check(shape, outputs, dtype, tolerance):
    """The product and its gradients, against NumPy's in float64."""
    generator = np.random.default_rng(0)
    shapes = shape, (shape[-1], outputs), (*shape[:-1], outputs)
    x, kernel, t = (generator.normal(size=one).astype(dtype) for one in shapes)

    @jax.jit
    def product_and_gradients(x, kernel, t):
        y, back = jax.vjp(F.linear, x, kernel)
        return y, *back(t)

    x_wide, kernel_wide, t_wide = (a.astype(np.float64) for a in (x, kernel, t))
    wanted = (
        x_wide @ kernel_wide,
        t_wide @ kernel_wide.T,
        x_wide.reshape(-1, shape[-1]).T @ t_wide.reshape(-1, outputs),
    )
    scales = 1, 10, 10
    found = product_and_gradients(x, kernel, t)
    for one, other, scale in zip(found, wanted, scales, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(
            np.asarray(one, np.float64), other, rtol=tolerance, atol=scale * tolerance
        )


@examples(20)
@given(batch=sizes, inputs=sizes, outputs=sizes)
def test_it_is_the_matrix_product_on_both_sides_of_the_rule(batch, inputs, outputs):
    check((batch, inputs), outputs, jnp.float32, 1e-5)


@pytest.mark.parametrize("shape", [(3,), (2, 5, 3), (2, 0, 3)])
def test_any_number_of_leading_axes(shape):
    check(shape, 4, jnp.float32, 1e-5)


def test_a_sequence_in_rows():
    check((4, 20, 30), NARROW + 8, jnp.float32, 1e-5)


def test_bfloat16_is_the_matrix_product_itself():
    check((4, 8), 8, jnp.bfloat16, 5e-2)


def test_what_is_small_and_what_is_not_are_computed_differently():
    kernel = ones(8, 8)
    small, large = (ones(n, 8) for n in (IN_LINE // 64, IN_LINE // 64 + 1))
    jaxprs = [str(jax.make_jaxpr(F.linear)(x, kernel)) for x in (small, large)]
    on_cpu = jax.default_backend() == "cpu"
    assert ["dot_general" in text for text in jaxprs] == [not on_cpu, True]


@pytest.mark.parametrize(
    ("x", "kernel"), [((2, 4), (3, 5)), ((2, 1), (3, 5)), ((), (3, 5)), ((2, 3), (3,))]
)
def test_refuses_shapes_that_do_not_fit(x, kernel):
    """Also those that in line would be broadcast."""
    with pytest.raises(ValueError, match=r"linear: x .* and kernel .* do not fit: x is"):
        F.linear(ones(*x), ones(*kernel))


def test_second_derivatives_and_vmap_agree_with_the_product():
    x = np.arange(6, dtype=np.float32).reshape(2, 3) / 6
    kernel = np.arange(12, dtype=np.float32).reshape(3, 4) / 7

    @functools.partial(jax.jit, static_argnums=0)
    def curve(product, kernel):
        return jax.hessian(lambda k: jnp.sum(jnp.tanh(product(x, k))))(kernel)

    np.testing.assert_allclose(
        curve(F.linear, kernel), curve(jnp.matmul, kernel), rtol=1e-4, atol=1e-5
    )
    many = jax.jit(jax.vmap(F.linear, in_axes=(None, 0)))(x, np.stack([kernel, 2 * kernel]))
    np.testing.assert_allclose(many[1], 2 * (x @ kernel), rtol=1e-5)


@examples(10)
@given(
    lead=st.sampled_from([(300,), (64,), (4, 33), (2, 3, 50)]),
    inputs=st.integers(48, 130),
    outputs=st.sampled_from([1, 2, 7, NARROW, NARROW + 1]),
)
def test_the_turned_gradient_of_narrow_kernels_is_that_of_the_product(lead, inputs, outputs):
    """Forwards and backwards, twice, and under vmap."""
    generator = np.random.default_rng(inputs)
    x, dx = (generator.normal(size=(*lead, inputs)).astype(np.float32) for _ in range(2))
    kernel, dk = (
        (generator.normal(size=(inputs, outputs)) / 10).astype(np.float32) for _ in range(2)
    )

    def everything(product, x, dx, kernel, dk):
        def loss(x, kernel):
            return jnp.mean(jnp.tanh(product(x, kernel)))

        gradient = jax.grad(loss, (0, 1))
        return (
            product(x, kernel),
            jax.jvp(product, (x, kernel), (dx, dk)),
            jax.jvp(gradient, (x, kernel), (dx, dk)),
            jax.grad(lambda x, k: jnp.vdot(gradient(x, k)[1], dk), (0, 1))(x, kernel),
            jax.vmap(gradient, (None, 0))(x, jnp.stack([kernel, dk])),
            jax.vmap(gradient, (0, None))(jnp.stack([x, dx]), kernel),
        )

    both = jax.jit(lambda *a: [everything(product, *a) for product in (F.linear, jnp.matmul)])
    found, wanted = both(x, dx, kernel, dk)
    chex.assert_trees_all_close(found, wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a rule for the CPU")
@pytest.mark.parametrize(("outputs", "turned"), [(NARROW, True), (NARROW + 1, False)])
def test_only_narrow_kernels_have_their_gradient_turned(outputs, turned):
    x, kernel = ones(200, 64), ones(64, outputs)
    jaxpr = jax.make_jaxpr(jax.grad(lambda kernel: F.linear(x, kernel).sum()))(kernel)
    assert ("optimization_barrier" in str(jaxpr)) == turned
