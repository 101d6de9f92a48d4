from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore import functional as F
from dlcore.functional.linear import IN_LINE, NARROW

sizes = st.integers(1, 24)


def check(shape, outputs, dtype, tolerance):
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(size=shape), dtype)
    kernel = jnp.asarray(generator.normal(size=(shape[-1], outputs)), dtype)
    t = jnp.asarray(generator.normal(size=(*shape[:-1], outputs)), dtype)

    def value(product):
        return lambda x, kernel: jnp.sum(product(x, kernel) * t)

    y = F.linear(x, kernel)
    assert y.dtype == dtype
    plain = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    np.testing.assert_allclose(np.asarray(y, np.float64), plain, rtol=tolerance, atol=tolerance)
    found = jax.grad(value(F.linear), (0, 1))(x, kernel)
    wanted = jax.grad(value(jnp.matmul), (0, 1))(x, kernel)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(
            np.asarray(one, np.float64),
            np.asarray(other, np.float64),
            rtol=tolerance,
            atol=10 * tolerance,
        )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(batch=sizes, inputs=sizes, outputs=sizes)
def test_it_is_the_matrix_product_on_both_sides_of_the_rule(batch, inputs, outputs):
    check((batch, inputs), outputs, jnp.float32, 1e-5)


@pytest.mark.parametrize("shape", [(3,), (2, 5, 3), (2, 0, 3)])
def test_any_number_of_leading_axes(shape):
    check(shape, 4, jnp.float32, 1e-5)


def test_bfloat16_is_the_matrix_product_itself():
    check((4, 8), 8, jnp.bfloat16, 5e-2)


def test_what_is_small_and_what_is_not_are_computed_differently():
    kernel = jnp.ones((8, 8))
    small, large = (jnp.ones((n, 8)) for n in (IN_LINE // 64, IN_LINE // 64 + 1))
    jaxprs = [str(jax.make_jaxpr(F.linear)(x, kernel)) for x in (small, large)]
    on_cpu = jax.default_backend() == "cpu"
    assert ["dot_general" in text for text in jaxprs] == [not on_cpu, True]


@pytest.mark.parametrize(
    ("x", "kernel"), [((2, 4), (3, 5)), ((2, 1), (3, 5)), ((), (3, 5)), ((2, 3), (3,))]
)
def test_refuses_shapes_that_do_not_fit(x, kernel):
    """Also those that in line would be broadcast."""
    with pytest.raises(ValueError, match=r"linear: x .* and kernel .* do not fit: x is"):
        F.linear(jnp.ones(x), jnp.ones(kernel))


def test_second_derivatives_and_vmap_agree_with_the_product():
    x, kernel = jnp.arange(6.0).reshape(2, 3), jnp.arange(12.0).reshape(3, 4) / 7

    def curve(product):
        return jax.hessian(lambda k: jnp.sum(jnp.tanh(product(x, k))))(kernel)

    np.testing.assert_allclose(curve(F.linear), curve(jnp.matmul), rtol=1e-4, atol=1e-5)
    many = jax.vmap(F.linear, in_axes=(None, 0))(x, jnp.stack([kernel, 2 * kernel]))
    np.testing.assert_allclose(many[1], 2 * (x @ kernel), rtol=1e-5)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    lead=st.sampled_from([(300,), (64,), (4, 33), (2, 3, 50)]),
    inputs=st.integers(48, 130),
    outputs=st.sampled_from([1, 2, 7, NARROW, NARROW + 1]),
)
def test_the_turned_gradient_of_narrow_kernels_is_that_of_the_product(lead, inputs, outputs):
    """Forwards and backwards, twice, and under vmap."""
    generator = np.random.default_rng(inputs)
    x, dx = (jnp.asarray(generator.normal(size=(*lead, inputs)), jnp.float32) for _ in range(2))
    kernel, dk = (
        jnp.asarray(generator.normal(size=(inputs, outputs)) / 10, jnp.float32) for _ in range(2)
    )

    def everything(product):
        def loss(x, kernel):
            return jnp.mean(jnp.tanh(product(x, kernel)))

        gradient = jax.grad(loss, (0, 1))
        return (
            product(x, kernel),
            jax.jvp(product, (x, kernel), (dx, dk)),
            gradient(x, kernel),
            jax.jvp(gradient, (x, kernel), (dx, dk)),
            jax.grad(lambda x, k: jnp.vdot(gradient(x, k)[1], dk), (0, 1))(x, kernel),
            jax.vmap(gradient, (None, 0))(x, jnp.stack([kernel, dk])),
            jax.vmap(gradient, (0, None))(jnp.stack([x, dx]), kernel),
        )

    found, wanted = (jax.jit(everything, static_argnums=0)(one) for one in (F.linear, jnp.matmul))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a rule for the CPU")
@pytest.mark.parametrize(("outputs", "turned"), [(NARROW, True), (NARROW + 1, False)])
def test_only_narrow_kernels_have_their_gradient_turned(outputs, turned):
    x, kernel = jnp.ones((200, 64)), jnp.ones((64, outputs))
    jaxpr = jax.make_jaxpr(jax.grad(lambda kernel: F.linear(x, kernel).sum()))(kernel)
    assert ("optimization_barrier" in str(jaxpr)) == turned
