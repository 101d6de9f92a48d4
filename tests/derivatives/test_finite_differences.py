"""Finite differences against derivatives known in closed form, and against their own theory."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.derivatives import finite_differences

METHODS = ("central", "forward")


def point(dtype=np.float64, matrix=(6, 10)):
    """Parameters in leaves of several shapes, by default 63: more than are moved at a time."""
    rng = np.random.default_rng(0)
    shapes = {"matrix": matrix, "vector": (2,), "number": ()}
    return {name: np.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def f(w):
    return jnp.sum(jnp.sin(w["matrix"])) * w["vector"][0] + jnp.exp(w["vector"][1] * w["number"])


def exact(w):
    (a, b), c = w["vector"], w["number"]
    e = np.exp(b * c)
    return {
        "matrix": a * np.cos(w["matrix"]),
        "vector": np.array([np.sin(w["matrix"]).sum(), c * e]),
        "number": b * e,
    }


@pytest.mark.parametrize(
    ("method", "dtype", "error"),
    [
        ("central", "float64", 1e-9),
        ("forward", "float64", 1e-6),
        ("central", "float32", 2e-3),
        ("forward", "float32", 2e-2),
    ],
)
def test_gradient_is_the_exact_one(method, dtype, error, x64):
    w = point(dtype)
    gradient = jax.jit(functools.partial(finite_differences.gradient, f, method=method))(w)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradient, w)
    chex.assert_trees_all_close(
        gradient, jax.tree.map(lambda leaf: np.asarray(leaf, dtype), exact(w)), rtol=0, atol=error
    )


def sum_of_exp(w):
    return jnp.sum(jnp.exp(w))


@pytest.mark.parametrize(("method", "ratio"), [("central", 4), ("forward", 2)])
def test_error_is_of_the_order_of_the_method(method, ratio, x64):
    """Half the ε: a quarter of the error of central differences, half that of forward ones."""
    w = np.linspace(-1, 1, 5)
    gradient = jax.jit(functools.partial(finite_differences.gradient, sum_of_exp, method=method))
    errors = [gradient(w, epsilon=epsilon) - np.exp(w) for epsilon in (1e-2, 5e-3)]
    np.testing.assert_allclose(errors[0] / errors[1], ratio, rtol=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_default_epsilon_is_near_the_best(method, dtype, x64):
    w = np.linspace(-1, 1, 6 * finite_differences.BLOCK).astype(dtype)

    @jax.jit
    def error(epsilon):
        gradient = finite_differences.gradient(sum_of_exp, w, method=method, epsilon=epsilon)
        return jnp.sqrt(jnp.mean((gradient - jnp.exp(w)) ** 2))

    root = 1 / 3 if method == "central" else 1 / 2
    default = float(jnp.finfo(dtype).eps) ** root
    errors = {
        factor: error(np.asarray(factor * default, dtype)) for factor in 10.0 ** np.arange(-3, 4)
    }
    assert errors[1.0] < 5 * min(errors.values())
    assert min(errors[1e-3], errors[1e3]) > 30 * errors[1.0]


@pytest.mark.parametrize(("method", "values"), [("central", 2 * 63), ("forward", 63 + 1)])
def test_cost_in_values_of_f(method, values):
    count = 0

    def counted(w):
        def one(number):
            nonlocal count
            count += 1

        jax.debug.callback(one, w["number"])
        return f(w)

    w = point(np.float32)
    jax.jit(functools.partial(finite_differences.gradient, counted, method=method))(w)
    jax.effects_barrier()
    assert count == values
    jax.jit(functools.partial(finite_differences.directional, counted, method=method))(w, w)
    jax.effects_barrier()
    assert count == values + 2


def test_large_parameters_move_further(x64):
    def squares(w):
        return (w[0] / 1e8) ** 2 + w[1] ** 2

    gradient = jax.jit(functools.partial(finite_differences.gradient, squares))
    np.testing.assert_allclose(gradient(np.array([1e8, 1e-3])), [2e-8, 2e-3], rtol=1e-6)


directional = jax.jit(
    functools.partial(finite_differences.directional, f), static_argnames="method"
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_directional_derivative(method, scale, x64):
    w, rng = point(), np.random.default_rng(1)
    d = jax.tree.map(lambda leaf: scale * rng.normal(size=leaf.shape), w)
    expected = sum(np.vdot(exact(w)[name], d[name]) for name in w)
    slope = directional(w, d, method=method)
    np.testing.assert_allclose(slope, expected, rtol={"central": 1e-8, "forward": 1e-5}[method])


def test_directional_derivative_along_nothing_is_zero(x64):
    w = point()
    assert directional(w, jax.tree.map(np.zeros_like, w), method="central") == 0


def test_jit_and_vmap_change_nothing(x64):
    members = np.linspace(0.1, 1, 6).reshape(2, 3)
    gradient = functools.partial(finite_differences.gradient, lambda w: jnp.prod(w))
    together = jax.jit(jax.vmap(gradient))(members)
    np.testing.assert_allclose(together, np.stack([*map(gradient, members)]), rtol=1e-9)


def test_check_passes_what_is_right_and_names_what_is_wrong(x64):
    w = point(matrix=(1, 4))
    right = exact(w)
    finite_differences.check(f, w, right)
    for wrong in (1.5, np.nan):
        spoiled = right | {"matrix": np.append(right["matrix"][:, :3], [[wrong]], axis=1)}
        with pytest.raises(AssertionError, match=rf"gradient at matrix\[0, 3\] is {wrong}, but"):
            finite_differences.check(f, w, spoiled)
    with pytest.raises(AssertionError, match="gradient at number is 3, but finite"):
        finite_differences.check(f, w, right | {"number": np.array(3.0)})
    slightly = right | {"vector": right["vector"] * (1 + 1e-5)}
    with pytest.raises(AssertionError, match="gradient at vector"):
        finite_differences.check(f, w, slightly)
    finite_differences.check(f, w, slightly, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda w: finite_differences.gradient(lambda w: w, w),
            ValueError,
            r"f gives shape \(2,\), but \(\) is wanted",
        ),
        (
            lambda w: finite_differences.gradient(jnp.sum, w.astype(int)),
            TypeError,
            "is int32, but floating point is wanted",
        ),
        (
            lambda w: finite_differences.gradient(f, {"a": w, "b": w.astype(jnp.bfloat16)}),
            TypeError,
            "leaves are bfloat16 and float32, but parameters of one dtype are wanted",
        ),
        (
            lambda w: finite_differences.gradient(jnp.sum, ()),
            TypeError,
            "leaves are absent",
        ),
        (
            lambda w: finite_differences.gradient(jnp.sum, w, method="complex"),
            ValueError,
            "method is 'complex', but must be one of",
        ),
        (
            lambda w: finite_differences.gradient(jnp.sum, w, epsilon=0.0),
            ValueError,
            "epsilon is 0.0, but epsilon > 0 is wanted",
        ),
        (
            lambda w: finite_differences.check(jnp.sum, w, {"w": w}),
            ValueError,
            r"check: gradient is of shapes {'w': \(2,\)}, but params are \(2,\)",
        ),
        (
            lambda w: finite_differences.directional(jnp.sum, w, np.ones(1)),
            ValueError,
            r"directional: direction is of shapes \(1,\), but params are \(2,\)",
        ),
        (
            lambda w: finite_differences.check(jnp.sum, w, np.ones(1)),
            ValueError,
            r"check: gradient is of shapes \(1,\), but params are \(2,\)",
        ),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones(2, np.float32))
