"""A table of activations, each beside NumPy's or SciPy's version, crossed with properties."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special
from scipy.spatial.distance import cdist

from dlcore import functional as F
from tests.budget import examples
from tests.functional.conftest import assert_derivatives


class Case(NamedTuple):
    function: Callable
    oracle: Callable
    limits: tuple[float, float]  # at −∞ and +∞
    torch: str | None = None


def _tanh_gelu(x):
    return x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


ELEMENTWISE = {
    "identity": Case(F.identity, np.positive, (-np.inf, np.inf)),
    "step": Case(F.step, lambda x: np.heaviside(x, 1.0), (0, 1)),
    "sigmoid": Case(F.sigmoid, special.expit, (0, 1), "sigmoid"),
    "tanh": Case(F.tanh, np.tanh, (-1, 1), "tanh"),
    "relu": Case(F.relu, lambda x: np.maximum(x, 0), (0, np.inf), "relu"),
    "leaky_relu": Case(
        F.leaky_relu, lambda x: np.maximum(0.01 * x, x), (-np.inf, np.inf), "leaky_relu"
    ),
    "prelu": Case(
        functools.partial(F.prelu, alpha=-0.5),
        lambda x: np.where(x < 0, -0.5 * x, x),
        (np.inf, np.inf),
    ),
    "elu": Case(
        F.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), (-1, np.inf), "elu"
    ),
    "softplus": Case(F.softplus, lambda x: -special.log_expit(-x), (0, np.inf), "softplus"),
    "gelu": Case(F.gelu, lambda x: x * special.ndtr(x), (0, np.inf), "gelu"),
    "gelu_approximate": Case(functools.partial(F.gelu, approximate=True), _tanh_gelu, (0, np.inf)),
    "silu": Case(F.silu, lambda x: x * special.expit(x), (0, np.inf), "silu"),
}
VECTOR = {
    "softmax": (F.softmax, functools.partial(special.softmax, axis=-1)),
    "log_softmax": (F.log_softmax, functools.partial(special.log_softmax, axis=-1)),
}
FUNCTIONS = {name: case.function for name, case in ELEMENTWISE.items()} | {
    name: function for name, (function, _) in VECTOR.items()
}
GRID = np.concatenate([np.linspace(-30, 30, 121), [-1e-3, 1e-3, -0.3, 2.7]]).astype(np.float32)
ROWS = np.random.default_rng(0).normal(scale=3, size=(5, 7)).astype(np.float32)
EXTREMES = np.array([-np.inf, -3e38, -1e4, -88.5, -0.0, 0.0, 88.5, 1e4, 3e38, np.inf], np.float32)

elementwise = pytest.mark.parametrize("case", ELEMENTWISE.values(), ids=ELEMENTWISE)
every = pytest.mark.parametrize("name", FUNCTIONS)
TOLERANCE = {np.float32: 2e-6, jnp.dtype(jnp.bfloat16).type: 2e-2, np.float64: 1e-12}


def ones(*shape):
    return np.ones(shape, np.float32)


def in_every_dtype(function, x):
    """Pairs of an input and its output in each dtype, computed in one call."""
    inputs = [x.astype(dtype) for dtype in TOLERANCE]
    return zip(inputs, jax.jit(lambda inputs: [function(x) for x in inputs])(inputs), strict=True)


@every
def test_value_is_the_oracles_and_dtype_is_kept(name, x64):
    oracle = ELEMENTWISE[name].oracle if name in ELEMENTWISE else VECTOR[name][1]
    for x, y in in_every_dtype(FUNCTIONS[name], GRID if name in ELEMENTWISE else ROWS):
        assert y.dtype == x.dtype
        tolerance = TOLERANCE[x.dtype.type]
        expected = oracle(np.asarray(x, np.float64))
        np.testing.assert_allclose(np.asarray(y, np.float64), expected, tolerance, tolerance)


@pytest.mark.parametrize(("function", "oracle"), VECTOR.values(), ids=VECTOR)
def test_any_axis(function, oracle):
    np.testing.assert_allclose(function(ROWS, axis=0).T, oracle(ROWS.T), 1e-5)


@every
def test_jit_and_vmap_change_nothing(name):
    function = FUNCTIONS[name]
    y = function(ROWS)
    for traced in jax.jit(lambda x: (function(x), jax.vmap(function)(x)))(ROWS):
        np.testing.assert_allclose(traced, y, 1e-6, 1e-6)


@every
def test_first_and_second_derivative_are_those_of_finite_differences(name, x64):
    assert_derivatives(FUNCTIONS[name], ROWS[0].astype(float))


@elementwise
def test_finite_at_the_extremes_with_the_limits_at_infinity(case, x64):
    def orders(x):
        value_and_first = jax.vmap(jax.value_and_grad(case.function))
        (value, first), (_, second) = jax.jvp(value_and_first, (x,), (jnp.ones_like(x),))
        return value, first, second

    for _, derivatives in in_every_dtype(orders, EXTREMES):
        value, *rest = (np.asarray(y, np.float32) for y in derivatives)
        np.testing.assert_array_equal(value[[0, -1]], case.limits)
        for y in (value[1:-1], *rest):
            assert np.isfinite(y).all()


def test_nan_is_not_hidden():
    x = np.array([np.nan, 1], np.float32)
    values = jax.jit(lambda x: {name: function(x) for name, function in FUNCTIONS.items()})(x)
    assert {name for name, y in values.items() if np.isnan(y[0])} == set(FUNCTIONS)


@jax.jit
def softmaxes(x):
    """Values, first and second derivatives of softmax and of log_softmax."""
    return [
        (function(x), jax.jacobian(function)(x), jax.hessian(function)(x))
        for function in (F.softmax, F.log_softmax)
    ]


@pytest.mark.parametrize("extreme", [1e4, 1.7e38])
def test_softmax_is_finite_at_the_extremes(extreme):
    x = np.array([extreme, 0, -extreme], np.float32)
    (y, *derivatives), (log_y, *log_derivatives) = softmaxes(x)
    np.testing.assert_array_equal(y, [1, 0, 0])
    np.testing.assert_array_equal(log_y, [0, -x[0], -2 * x[0]])
    for derivative in (*derivatives, *log_derivatives):
        assert np.isfinite(derivative).all()


def test_softmax_of_minus_infinity_is_zero():
    masked = np.array([-np.inf, 1, 1], np.float32)
    (y, *_), (log_y, *_) = softmaxes(masked)
    np.testing.assert_allclose(y, [0, 0.5, 0.5])
    assert log_y[0] == -np.inf


def test_softmax_of_nothing_is_nothing():
    """Where all are −∞ all get 0, as a masked row of attention has it, and no gradient."""
    (y, *derivatives), _ = softmaxes(np.full(3, -np.inf, np.float32))
    for one in (y, *derivatives):
        np.testing.assert_array_equal(one, 0)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "identity"])
def test_integers_are_refused_in_one_line(name):
    with pytest.raises(TypeError, match=r"^\w+: x is int32, .*x\.astype\(jnp\.float32\)$"):
        FUNCTIONS[name](np.arange(3, dtype=np.int32))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if hasattr(F, name)])
def test_one_required_argument_so_that_it_is_a_layer(name):
    parameters = inspect.signature(getattr(F, name)).parameters.values()
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    assert required == (["x", "alpha"] if name == "prelu" else ["x"])


@pytest.mark.parametrize("name", [name for name, case in ELEMENTWISE.items() if case.torch])
def test_value_and_gradient_are_torchs(name, torch):
    x = torch.from_numpy(np.append(GRID, 0.0).astype(np.float32)).requires_grad_()
    y = getattr(torch.nn.functional, ELEMENTWISE[name].torch)(x)
    y.sum().backward()
    ours, pullback = jax.vjp(ELEMENTWISE[name].function, jnp.asarray(x.detach().numpy()))
    np.testing.assert_allclose(ours, y.detach().numpy(), 1e-5, 1e-6)
    np.testing.assert_allclose(pullback(jnp.ones_like(ours))[0], x.grad.numpy(), 1e-5, 1e-6)


@examples(25)
@given(
    name=st.sampled_from(["gelu", "silu", "elu", "softplus", "softmax", "log_softmax"]),
    x=hnp.arrays(
        np.float32,
        st.sampled_from([(1,), (3,), (2, 1, 2)]),
        elements=st.floats(-(2.0**120), 2.0**120, width=32),
    ),
)
def test_any_value_keeps_its_shape_and_stays_finite(name, x):
    y = jax.jit(FUNCTIONS[name])(x)
    assert y.shape == x.shape
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (F.relu, 0),
        (F.leaky_relu, np.float32(0.01)),
        (functools.partial(F.prelu, alpha=0.25), 0.25),
        (F.elu, 1),
    ],
)
def test_derivative_at_the_kink(function, derivative):
    assert jax.jit(jax.grad(function))(0.0) == derivative


def test_step_is_one_at_zero_and_has_no_gradient():
    around = np.array([-1e-30, -0.0, 0.0, 1e-30], np.float32)
    np.testing.assert_array_equal(F.step(around), [0, 1, 1, 1])
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.grad(F.step)))(EXTREMES), np.zeros(10))


@pytest.mark.parametrize("slope", [-0.1, 1.0, 2, np.nan, jnp.float32(1.5)])
def test_leaky_relu_refuses_a_slope_outside_0_1(slope):
    with pytest.raises(ValueError, match="0 ≤ α < 1"):
        F.leaky_relu(ones(2), slope)
    with pytest.raises(ValueError, match="0 ≤ α < 1"):
        jax.jit(lambda x: F.leaky_relu(x, slope))(ones(2))


def test_leaky_relu_takes_a_sweep_of_slopes():
    x, slopes = np.array([[-2, 2], [0, 0.5]], np.float32)
    swept = jax.jit(jax.vmap(F.leaky_relu, (None, 0)))(x, slopes)
    np.testing.assert_array_equal(swept, [[0, 2], [-1, 2]])


def test_elu_alpha():
    x = np.array([-2.0, 3.0], np.float32)
    np.testing.assert_allclose(F.elu(x, 0.3), [0.3 * np.expm1(-2.0), 3], 1e-6)


def test_prelu_per_channel_is_torchs_with_gradients(torch):
    x = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    alpha = np.array([0.25, -0.5, 0.0, 2.0, 1.0], np.float32)
    tx, talpha = (torch.tensor(a, requires_grad=True) for a in (x, alpha))
    ty = torch.nn.functional.prelu(tx.movedim(-1, 1), talpha).movedim(1, -1)
    (ty**2).sum().backward()
    dx, dalpha = jax.grad(lambda x, a: jnp.sum(F.prelu(x, a) ** 2), (0, 1))(x, alpha)
    np.testing.assert_allclose(F.prelu(x, alpha), ty.detach().numpy(), 1e-6)
    np.testing.assert_allclose(dx, tx.grad.numpy(), 1e-6)
    np.testing.assert_allclose(dalpha, talpha.grad.numpy(), 1e-5)


def test_prelu_by_element_with_gradients():
    x, alpha = (
        np.random.default_rng(i).normal(size=shape).astype(np.float32)
        for i, shape in enumerate([(3, 4, 5), (4, 5)])
    )

    @jax.jit
    def value_and_gradients(x, alpha):
        loss = lambda x, alpha: jnp.sum(F.prelu(x, alpha) ** 2)  # noqa: E731
        return F.prelu(x, alpha), *jax.grad(loss, (0, 1))(x, alpha)

    y, by_x, by_alpha = value_and_gradients(x, alpha)
    slope = np.where(x > 0, 1, alpha)
    np.testing.assert_allclose(y, slope * x, rtol=1e-6)
    np.testing.assert_allclose(by_x, 2 * slope**2 * x, rtol=1e-5)
    np.testing.assert_allclose(
        by_alpha, (2 * alpha * np.minimum(x, 0) ** 2).sum(0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("seen", [3, 4])
def test_prelu_gradient_for_alpha_is_the_sum_of_the_negative_part(seen, x64):
    """Whether or not the infinite one is seen."""
    x = np.array([-2.0, 0.0, 3.0, np.inf])
    assert jax.jit(jax.grad(lambda alpha: F.prelu(x, alpha)[:seen].sum()))(0.25) == -2


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 4), (4, 1)])
def test_prelu_refuses_an_alpha_that_is_not_per_channel(shape):
    with pytest.raises(ValueError, match=r"prelu: alpha has shape .*\(4,\)"):
        F.prelu(ones(2, 4), ones(*shape))


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 4), (3, 1), (4, 3)])
def test_prelu_refuses_an_alpha_that_is_not_per_element(shape):
    with pytest.raises(ValueError, match=r"prelu: alpha has shape .* one an element \(3, 4\)"):
        F.prelu(ones(2, 3, 4), ones(*shape))


def test_parameters_follow_the_dtype_of_x():
    x = np.ones([2, 3], jnp.bfloat16)
    assert jax.eval_shape(F.prelu, x, ones(3)).dtype == jnp.bfloat16
    assert jax.eval_shape(F.rbf_gaussian, x, ones(4, 3), ones(4)).dtype == jnp.bfloat16


def test_rbf_is_scipys_distance():
    generator = np.random.default_rng(2)
    x, centers = (generator.normal(size=(n, 3)).astype(np.float32) for n in (6, 4))
    distance = cdist(x, centers, "sqeuclidean")
    beta = np.array([0.5, 1.0, 2.0, 0.1], np.float32)
    np.testing.assert_allclose(F.rbf_squared_distance(x, centers), distance, 1e-5)
    np.testing.assert_allclose(F.rbf_gaussian(x, centers, 0.7), np.exp(-0.7 * distance), 1e-5)
    np.testing.assert_allclose(F.rbf_gaussian(x, centers, beta), np.exp(-beta * distance), 1e-5)
    batch = F.rbf_squared_distance(x.reshape(2, 3, 3), centers)
    np.testing.assert_allclose(batch, distance.reshape(2, 3, 4), 1e-5)


def test_rbf_of_bfloat16_is_rounded_once():
    """Within 2⁻⁸ of the exact one, which in bfloat16 the squares and the exponent are not."""
    generator = np.random.default_rng(3)
    x, centers = (generator.normal(size=(n, 84)).astype(jnp.bfloat16) for n in (6, 10))
    distance = cdist(*(array.astype(float) for array in (x, centers)), "sqeuclidean")
    for y, exact in (
        (F.rbf_squared_distance(x, centers), distance),
        (F.rbf_gaussian(x, centers, 0.1), np.exp(-0.1 * distance)),
    ):
        assert y.dtype == jnp.bfloat16
        np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8)


def test_rbf_derivatives_are_those_of_finite_differences(x64):
    def gaussian(flat):
        x, centers, beta = flat[:2], flat[2:6].reshape(2, 2), flat[6:]
        return F.rbf_gaussian(x, centers, beta)

    assert_derivatives(gaussian, np.array([0.3, -0.2, 0.5, 1.0, -1.0, 0.1, 0.5, 2.0]))


def test_rbf_does_not_cancel_near_a_far_center_and_is_finite_far_away():
    near = F.rbf_squared_distance(np.float32([1e4, 1.0]), np.float32([[1e4, 1.5]]))
    np.testing.assert_array_equal(near, [0.25])

    @jax.jit
    @jax.value_and_grad
    def far(x):
        return F.rbf_gaussian(x, np.zeros([1, 2], np.float32), 1.0).sum()

    value, gradient = far(np.float32([1e4, -1e30]))
    assert value == 0
    np.testing.assert_array_equal(gradient, [0, 0])


@pytest.mark.parametrize(
    ("x", "centers"), [((5, 3), (4, 2)), ((5, 3), (3,)), ((), (4, 2)), ((5, 1), (4, 3))]
)
def test_rbf_refuses_shapes_that_do_not_fit(x, centers):
    with pytest.raises(ValueError, match="do not fit"):
        F.rbf_squared_distance(ones(*x), ones(*centers))


def test_rbf_refuses_a_beta_that_is_not_per_center():
    with pytest.raises(ValueError, match=r"beta has shape \(3,\)"):
        F.rbf_gaussian(ones(5, 3), ones(4, 3), ones(3))
