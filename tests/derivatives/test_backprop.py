"""Rules written by hand, against JAX's derivatives, PyTorch's, and finite differences."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special

from dlcore import functional as F
from dlcore import models, nn
from dlcore.derivatives import backprop, finite_differences
from dlcore.derivatives.backprop import Rule
from dlcore.nn.layer import select
from tests.budget import examples

# Most of the time goes into compiling what runs once.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def assert_close(ours, expected, tolerance=1e-9):
    """Within `tolerance` of the largest element anywhere, or of 1."""
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    pairs = [*zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True)]
    scale = max(
        1.0, *(np.max(np.abs(theirs), where=np.isfinite(theirs), initial=0) for _, theirs in pairs)
    )
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance * scale)


def test_nothing_is_differentiated_by_jax():
    nodes = ast.walk(ast.parse(inspect.getsource(backprop)))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert "vmap" in names  # so attributes are seen
    derivatives = (
        "grad",
        "vjp",
        "jvp",
        "jac",
        "hess",
        "linear_transpose",
        "linearize",
        "checkpoint",
    )
    assert not [name for name in names for part in derivatives if part in name]


# ------------------------------------------------------------------------- each rule by itself


class Case(NamedTuple):
    rule: Rule
    function: Callable[..., Any]  # of (params, x)
    params: dict[str, tuple[int, ...]]
    x: tuple[int, ...]


def plain(rule, function, x):
    return Case(rule, lambda params, x: function(x), {}, x)


def plus_bias(params, y):
    return y + params["bias"] if "bias" in params else y


def conv(params, **window):
    def function(params, x):
        return plus_bias(params, F.conv(x, params["kernel"], **window))

    return Case(backprop.conv(**window), function, params, IMAGE)


def linear(params, x):
    return plus_bias(params, F.linear(x, params["kernel"]))


def batch_norm(params, x):
    return F.normalize(x, *F.moments(x, range(x.ndim - 1)), **dict(params))


IMAGE, VECTOR = (3, 5, 6, 4), (5, 4)
MASK = np.random.default_rng(0).integers(0, 2, VECTOR) / 0.5

RULES = {
    "linear": Case(backprop.linear, linear, {"kernel": (4, 3), "bias": (3,)}, VECTOR),
    "linear on images": Case(backprop.linear, linear, {"kernel": (4, 3), "bias": (3,)}, IMAGE),
    "linear on one vector": Case(backprop.linear, linear, {"kernel": (4, 3)}, (4,)),
    "conv": conv({"kernel": (3, 2, 4, 2), "bias": (2,)}),
    "conv strided": conv({"kernel": (3, 2, 4, 2)}, stride=(2, 3), padding=((1, 0), (2, 1))),
    "conv dilated": conv({"kernel": (2, 3, 4, 2)}, padding="SAME", dilation=(3, 2)),
    "conv in groups": conv(
        {"kernel": (2, 3, 2, 6), "bias": (6,)}, padding=3, dilation=2, stride=2, groups=2
    ),
    "conv by depth": conv({"kernel": (3, 3, 1, 8)}, stride=2, padding=1, groups=4),
    "max_pool": plain(backprop.max_pool(2), lambda x: F.max_pool(x, 2), IMAGE),
    "max_pool overlapping": plain(
        backprop.max_pool(3, 2, 1), lambda x: F.max_pool(x, 3, 2, 1), IMAGE
    ),
    "avg_pool": plain(backprop.avg_pool((2, 3)), lambda x: F.avg_pool(x, (2, 3)), IMAGE),
    "avg_pool inside": plain(
        backprop.avg_pool(3, 2, "SAME", count_include_pad=False),
        lambda x: F.avg_pool(x, 3, 2, "SAME", count_include_pad=False),
        IMAGE,
    ),
    "global_avg_pool": plain(backprop.global_avg_pool, F.global_avg_pool, IMAGE),
    "global_max_pool": plain(backprop.global_max_pool, F.global_max_pool, IMAGE),
    "flatten": plain(backprop.flatten, nn.flatten, IMAGE),
    "dropout": plain(backprop.dropout(MASK), lambda x: x * jnp.asarray(MASK, x.dtype), VECTOR),
    "batch_norm": Case(backprop.batch_norm(), batch_norm, {"scale": (4,), "offset": (4,)}, IMAGE),
    "batch_norm scaled": Case(backprop.batch_norm(), batch_norm, {"scale": (4,)}, VECTOR),
    "batch_norm plain": Case(backprop.batch_norm(), batch_norm, {}, VECTOR),
    "softmax": plain(backprop.softmax, F.softmax, VECTOR),
    "log_softmax": plain(backprop.log_softmax, F.log_softmax, IMAGE),
    "prelu": Case(
        backprop.prelu, lambda params, x: F.prelu(x, params["alpha"]), {"alpha": ()}, IMAGE
    ),
    "prelu by channel": Case(
        backprop.prelu, lambda params, x: F.prelu(x, params["alpha"]), {"alpha": (4,)}, IMAGE
    ),
    "rbf": Case(
        backprop.rbf,
        lambda params, x: F.rbf_squared_distance(x, params["centers"]),
        {"centers": (3, 4)},
        VECTOR,
    ),
}


@pytest.fixture(params=RULES)
def case(request):
    return RULES[request.param]


def arrays(case):
    params = {name: normal(i, *shape) for i, (name, shape) in enumerate(case.params.items())}
    return params or (), normal(9, *case.x)


def backwards(case, params, x):
    """(y, ∂E/∂params, δ at x) by hand and by JAX, for the same δ at y."""
    y, saved = case.rule.forward(params, x)
    expected, transpose = jax.vjp(case.function, params, x)
    delta = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    return (y, *case.rule.backward(params, saved, delta)), (expected, *transpose(delta))


def test_rule_is_the_derivative(case, x64):
    assert_close(*compiled(functools.partial(backwards, case))(*arrays(case)))


def test_bfloat16_stays(case):
    arguments = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), arrays(case)
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(
        *jax.eval_shape(functools.partial(backwards, case), *arguments)
    )


@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.one_of(
        st.sampled_from(["VALID", "SAME"]),
        st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
    ),
    groups=st.integers(1, 2),
)
@examples(6)
def test_windows_of_every_geometry(size, window, stride, dilation, padding, groups):
    """On small integers, so that windows are full of equal values."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2, *size, 2)).astype(np.float32)
    kernel = rng.integers(-3, 4, (*window, 2 // groups, 2)).astype(np.float32)
    dilated = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if not isinstance(padding, str):  # of pooling it is less than the window
        padding = [[min(p, w - 1) for p in side] for side, w in zip(padding, window, strict=True)]
    settings = {"stride": stride, "padding": padding}
    pools = [
        plain(rule(window, **settings), functools.partial(pool, window=window, **settings), ())
        for rule, pool in ((backprop.max_pool, F.max_pool), (backprop.avg_pool, F.avg_pool))
    ]
    cases = [(conv({}, **dilated), {"kernel": kernel}), *((pool, ()) for pool in pools)]
    try:
        for case, params in cases:
            jax.eval_shape(case.function, params, x)
    except ValueError:
        assume(False)  # the window does not fit
    both = compiled(lambda x: [backwards(case, params, x) for case, params in cases])
    for ours, expected in both(x):
        assert_close(ours, expected, 1e-6)


ELEMENTWISE = {
    name: (getattr(backprop, name), getattr(F, name))
    for name in ("identity", "step", "sigmoid", "tanh", "relu", "softplus", "silu", "gelu")
} | {
    "leaky_relu": (backprop.leaky_relu(0.2), functools.partial(F.leaky_relu, negative_slope=0.2)),
    "elu": (backprop.elu(0.7), functools.partial(F.elu, alpha=0.7)),
    "scaled tanh": (
        backprop.elementwise(lambda a: 3 * jnp.tanh(a), lambda a, z: (9 - z**2) / 3),
        lambda a: 3 * jnp.tanh(a),
    ),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name):
    """Also where the derivative is 0 or has a jump, and far out."""
    rule, h = ELEMENTWISE[name]
    places = np.array([-1e4, -200, -30, -1.5, -1e-3, 0, 1e-3, 0.5, 2, 30, 200, 1e4])

    def both(a):
        z, saved = rule.forward((), a)
        expected = h(a), (), jax.vmap(jax.grad(h))(a) * 3 * a
        return (z, *rule.backward((), saved, 3 * a)), expected

    inputs = [places.astype(dtype) for dtype in (jnp.float32, jnp.bfloat16)]
    for a, (ours, expected) in zip(
        inputs, compiled(lambda xs: [*map(both, xs)])(inputs), strict=True
    ):
        chex.assert_trees_all_equal_shapes_and_dtypes(ours, expected)
        eps = float(jnp.finfo(a.dtype).eps)
        np.testing.assert_allclose(ours[0], expected[0], rtol=eps)
        delta, wanted = (np.asarray(one[2], float) for one in (ours, expected))
        assert (np.abs(delta - wanted) <= 20 * eps * np.maximum(1, np.abs(a.astype(float)))).all()


# ----------------------------------------------------------------- δ at the output, and branches

LOSSES = {
    "half_squared_error": (
        backprop.half_squared_error,
        functools.partial(F.squared_error, form="half_sum"),
        normal(1, 6, 2, 3),
    ),
    "cross_entropy": (backprop.cross_entropy, F.cross_entropy, np.arange(12).reshape(6, 2) % 3),
    "cross_entropy of distributions": (
        backprop.cross_entropy,
        F.cross_entropy,
        special.softmax(normal(2, 6, 2, 3), -1),
    ),
    "binary_cross_entropy": (
        backprop.binary_cross_entropy,
        F.binary_cross_entropy,
        special.expit(normal(3, 6, 2, 3)),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name):
    """A mean over 6 examples, or for cross_entropy over 12, as all its leading axes count."""
    loss, reference, targets = LOSSES[name]

    def both(y):
        return loss(y, targets), jax.value_and_grad(reference)(y, targets)

    inputs = [normal(4, 6, 2, 3).astype(dtype) for dtype in (jnp.float32, jnp.bfloat16)]
    for y, (ours, expected) in zip(
        inputs, compiled(lambda ys: [*map(both, ys)])(inputs), strict=True
    ):
        chex.assert_trees_all_equal_shapes_and_dtypes(ours, expected)
        tolerance = 4 * float(jnp.finfo(y.dtype).eps)
        for mine, theirs in zip(ours, expected, strict=True):
            np.testing.assert_allclose(
                np.asarray(mine, float), np.asarray(theirs, float), rtol=0, atol=tolerance
            )


A, T = np.random.default_rng(5).normal(size=(2, 6, 3))
ROWS = np.eye(3)[np.arange(6) % 3]


def at_a(output, loss, targets):
    """δ at a, where y = output(a)."""

    @compiled
    def delta(a, targets):
        y, saved = output.forward((), a)
        return output.backward((), saved, loss(y, targets)[1])[1]

    return delta(A, targets)


def by_probabilities(y, t):
    """δ at y of −Σ t·log y / B."""
    return None, -t / y / len(y)


def by_probability(y, t):
    """δ at y of −Σ [t·log y + (1 − t)·log(1 − y)] / B."""
    return None, ((1 - t) / (1 - y) - t / y) / len(y)


@pytest.mark.parametrize(
    ("output", "loss", "y", "t"),
    [
        (backprop.identity, backprop.half_squared_error, A, T),
        (backprop.identity, backprop.binary_cross_entropy, special.expit(A), ROWS),
        (backprop.identity, backprop.cross_entropy, special.softmax(A, -1), ROWS),
        (backprop.sigmoid, by_probability, special.expit(A), ROWS),
        (backprop.softmax, by_probabilities, special.softmax(A, -1), ROWS),
    ],
)
def test_output_and_its_own_loss_leave_y_minus_t(output, loss, y, t, x64):
    """Also by the long way, where σ or softmax is a layer, and its loss takes probabilities."""
    np.testing.assert_allclose(at_a(output, loss, t), (y - t) / 6, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("output", "f", "slope"),
    [
        (backprop.sigmoid, special.expit, special.expit(A) * special.expit(-A)),
        (backprop.tanh, np.tanh, np.cosh(A) ** -2.0),
        (backprop.softplus, lambda a: np.log1p(np.exp(a)), special.expit(A)),
        (backprop.relu, lambda a: np.maximum(a, 0), np.heaviside(A, 0)),
    ],
)
def test_half_squared_error_through_any_output_leaves_y_minus_t_times_the_slope(
    output, f, slope, x64
):
    delta = at_a(output, backprop.half_squared_error, T)
    np.testing.assert_allclose(delta, (f(A) - T) * slope / 6, rtol=1e-12, atol=1e-14)


def test_delta_of_two_successors_is_the_sum(x64):
    first, second = normal(6, 3, 4), normal(7, 3, 4)
    rule = backprop.branch(backprop.add, backprop.linear, backprop.linear)
    params, x, delta = ({"kernel": first}, {"kernel": second}), normal(8, 5, 3), normal(9, 5, 4)

    @compiled
    def forward_and_backward(params, x, delta):
        y, saved = rule.forward(params, x)
        return y, *rule.backward(params, saved, delta)

    y, gradients, at_x = forward_and_backward(params, x, delta)
    np.testing.assert_allclose(y, x @ first + x @ second, rtol=1e-12)
    np.testing.assert_allclose(at_x, delta @ first.T + delta @ second.T, rtol=1e-12)
    for gradient in gradients:
        np.testing.assert_allclose(gradient["kernel"], x.T @ delta, rtol=1e-12)


def test_two_layers_in_numpy(x64):
    """h = σ and a linear output: δⱼ = h′(aⱼ) Σₖ δₖ·vⱼₖ, and the gradient of a bias is Σδ."""
    w, b, v, c, x, t = (
        normal(i, *shape) for i, shape in enumerate([(3, 4), (4,), (4, 2), (2,), (5, 3), (5, 2)])
    )
    z = special.expit(x @ w + b)
    output = (z @ v + c - t) / 5
    hidden = z * (1 - z) * (output @ v.T)
    network = backprop.serial(backprop.linear, backprop.sigmoid, backprop.linear)
    params = ({"kernel": w, "bias": b}, (), {"kernel": v, "bias": c})
    run = functools.partial(backprop.value_and_gradient, network, backprop.half_squared_error)
    value, gradient = compiled(run)(params, x, t)
    assert value == pytest.approx(((z @ v + c - t) ** 2).sum() / 10, rel=1e-12)
    expected = (
        {"kernel": x.T @ hidden, "bias": hidden.sum(0)},
        (),
        {"kernel": z.T @ output, "bias": output.sum(0)},
    )
    assert_close(gradient, expected, 1e-12)


# ------------------------------------------------------------------------- networks of the rules


def by_hand(layer, params):
    """A Layer as a Rule, and its params, or a gradient of that structure, as the Rule has them."""
    kind, config, children = layer.info.kind, layer.info.config, layer.info.children
    if children:
        parts = [by_hand(child, select(params, name)) for name, child in children]
        rules, own = zip(*parts, strict=True)
        merges = {"residual": backprop.add, "concat": backprop.concat}
        if kind in merges:
            return backprop.branch(merges[kind], *rules), own
        return backprop.serial(*rules), own  # a model is one under its own name
    rule = getattr(backprop, kind)
    if not isinstance(rule, Rule):
        wanted = inspect.signature(rule).parameters
        rule = rule(**{name: value for name, value in config.items() if name in wanted})
    return rule, params


SMOOTH = [F.sigmoid, F.tanh, F.softplus, F.silu, F.gelu, F.softmax]
KINKED = [F.relu, functools.partial(F.leaky_relu, negative_slope=0.2), F.elu, nn.prelu()]


def image_layers(draw, shape, activations):
    """What may come after an image [B, H, W, C]."""
    _, height, width, channels = shape
    pair = st.tuples(st.integers(1, 3), st.integers(1, 2))
    window = st.tuples(st.integers(2, 3), st.integers(2, 3))
    fits = ["SAME", 1] + ["VALID", ((1, 0), (0, 1))] * (min(height, width) >= 3)
    groups = draw(st.sampled_from([n for n in (1, 2, 3) if channels % n == 0]))
    dilation = draw(st.integers(1, 2))
    pool = {"stride": draw(st.integers(1, 2)), "padding": draw(st.sampled_from(fits))}
    return {
        "conv": nn.conv(
            channels,
            groups * draw(st.integers(1, 2)),
            draw(pair),
            stride=draw(pair),
            padding="SAME" if dilation == 2 else draw(st.sampled_from(fits)),
            dilation=dilation,
            groups=groups,
            bias=draw(st.booleans()),
        ),
        "max_pool": nn.max_pool(draw(window), **pool),
        "avg_pool": nn.avg_pool(draw(window), **pool, count_include_pad=draw(st.booleans())),
        "batch_norm": nn.batch_norm(channels, scale=draw(st.booleans())),
        "activation": draw(st.sampled_from(activations)),
        "residual": nn.residual(nn.conv(channels, channels, 3, padding=1)),
        "concat": nn.concat(
            nn.conv(channels, 1, 1), F.tanh, nn.avg_pool(3, stride=1, padding="SAME")
        ),
    }


def vector_layers(draw, shape, activations):
    """What may come after a vector [B, D]."""
    features = shape[1]
    return {
        "linear": nn.linear(features, draw(st.integers(1, 5)), bias=draw(st.booleans())),
        "rbf": nn.rbf(features, 3),
        "batch_norm": nn.batch_norm(features),
        "activation": draw(st.sampled_from(activations)),
        "residual": nn.residual(
            nn.serial(nn.linear(features, 2), F.tanh, nn.linear(2, 3)), nn.linear(features, 3)
        ),
        "concat": nn.concat(F.sigmoid, nn.residual(nn.linear(features, features), F.softplus)),
    }


def output_shape(layer, shape):
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(layer.apply, train=True), params, state, x)[0].shape


@st.composite
def networks(draw, activations=(*SMOOTH, *KINKED), without=()):
    """(a serial network with shortcuts and branches in it, the shape of its x)."""
    sizes = st.integers(3, 7)
    is_image = draw(st.booleans())
    start = (3, draw(sizes), draw(sizes), draw(st.integers(1, 3))) if is_image else (4, draw(sizes))
    layers, shape = [], start

    def extend(layer):
        nonlocal shape
        layers.append(nn.as_layer(layer))
        shape = output_shape(layers[-1], shape)

    for choices, at_most in ((image_layers, 3), (vector_layers, 3)):
        if len(shape) == 2 and choices is image_layers:
            continue
        for _ in range(draw(st.integers(1, at_most))):
            made = choices(draw, shape, activations)
            extend(made[draw(st.sampled_from([name for name in made if name not in without]))])
        if len(shape) == 4:
            extend(draw(st.sampled_from([nn.flatten, F.global_avg_pool])))
    return nn.serial(*layers, nn.linear(shape[1], 3)), start


PAIRS = {
    "half squared error": (None, "half_squared_error", normal(1, 4, 3)),
    "half squared error through tanh": (F.tanh, "half_squared_error", normal(2, 4, 3)),
    "half squared error through softmax": (F.softmax, "half_squared_error", normal(3, 4, 3)),
    "sigmoid and its cross-entropy": (None, "binary_cross_entropy", special.expit(normal(4, 4, 3))),
    "softmax and its cross-entropy": (None, "cross_entropy", np.arange(4) % 3),
}


def problem(network, pair):
    """(Layer, params, state, x, targets, loss by hand, loss by JAX) in float64."""
    (layer, shape), (output, loss, targets) = network, PAIRS[pair]
    layer = layer if output is None else nn.serial(layer, output)
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape), state)
    references = {
        "half_squared_error": functools.partial(F.squared_error, form="half_sum"),
        "binary_cross_entropy": F.binary_cross_entropy,
        "cross_entropy": F.cross_entropy,
    }
    x = rng.normal(size=shape)
    ours = getattr(backprop, loss)
    return layer, params, state, x, targets[: shape[0]], ours, references[loss]


def assert_equals_jax_grad(network, pair):
    """In value, gradient of every parameter, and δ at the network's input."""
    layer, params, state, x, targets, loss, reference = problem(network, pair)

    def objective(params, x):
        return reference(layer.apply(params, state, x, train=True)[0], targets)

    @compiled
    def both(params, x):
        rule, own = by_hand(layer, params)
        value, gradient = backprop.value_and_gradient(rule, loss, own, x, targets)
        y, saved = rule.forward(own, x)
        _, at_x = rule.backward(own, saved, loss(y, targets)[1])
        expected, (by_params, by_x) = jax.value_and_grad(objective, (0, 1))(params, x)
        return (value, gradient, at_x), (expected, by_hand(layer, by_params)[1], by_x)

    assert_close(*both(params, x))


@given(network=networks(), pair=st.sampled_from([*PAIRS]))
@examples(8)
def test_serial_network_equals_jax_grad(network, pair):
    with jax.enable_x64(True):
        assert_equals_jax_grad(network, pair)


@given(network=networks(SMOOTH, without=("max_pool", "batch_norm")), pair=st.sampled_from([*PAIRS]))
@examples(3)
@pytest.mark.slow
def test_finite_differences_agree(network, pair):
    """Within 1e-6 of the largest of a leaf, as `finite_differences.check` has it.

    Without kinks, and without the normalisation of a few values, whose curvature costs the
    differences their digits: batch norm is among the mistakes below.
    """
    with jax.enable_x64(True):
        layer, params, _, x, targets, loss, _ = problem(network, pair)
        rule, params = by_hand(layer, params)

        def objective(params):
            return loss(rule.forward(params, x)[0], targets)[0]

        @compiled
        def both(params):
            _, gradient = backprop.value_and_gradient(rule, loss, params, x, targets)
            return gradient, finite_differences.gradient(objective, params)

        for mine, theirs in zip(*map(jax.tree.leaves, both(params)), strict=True):
            atol = 1e-9 + 1e-6 * np.max(np.abs(theirs), initial=0)
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=atol)


@pytest.mark.slow
def test_lenet5_equals_jax_grad(x64):
    assert_equals_jax_grad(
        (models.lenet5((12, 14, 2), 3), (3, 12, 14, 2)), "softmax and its cross-entropy"
    )


def test_torch_has_the_same_gradient(x64, torch):
    body = backprop.serial(backprop.conv(padding=1), backprop.batch_norm(), backprop.relu)
    network = backprop.serial(
        backprop.conv(stride=2, padding=2, dilation=2),
        backprop.tanh,
        backprop.branch(backprop.add, body, backprop.identity),
        backprop.max_pool(3, 2, 1),
        backprop.flatten,
        backprop.linear,
    )
    k1, b1, k2, scale, offset, w, b = (
        normal(i, *shape)
        for i, shape in enumerate(
            [(3, 3, 2, 4), (4,), (3, 3, 4, 4), (4,), (4,), (3 * 4 * 4, 3), (3,)]
        )
    )
    x, labels = normal(8, 5, 10, 13, 2), np.arange(5) % 3
    params = (
        {"kernel": k1, "bias": b1},
        (),
        (({"kernel": k2}, {"scale": scale, "offset": offset}, ()), ()),
        (),
        (),
        {"kernel": w, "bias": b},
    )
    value, gradient = jax.jit(
        functools.partial(backprop.value_and_gradient, network, backprop.cross_entropy)
    )(params, x, labels)

    def tensor(array, *axes):
        array = np.array(array if not axes else np.transpose(array, axes))
        return torch.tensor(array, requires_grad=True)

    f = torch.nn.functional
    theirs = [tensor(k1, 3, 2, 0, 1), tensor(b1), tensor(k2, 3, 2, 0, 1)]
    theirs += [tensor(scale), tensor(offset), tensor(w, 1, 0), tensor(b)]
    z = f.conv2d(tensor(x, 0, 3, 1, 2), theirs[0], theirs[1], stride=2, padding=2, dilation=2)
    z = torch.tanh(z)
    normed = f.batch_norm(
        f.conv2d(z, theirs[2], padding=1), None, None, theirs[3], theirs[4], training=True
    )
    z = f.max_pool2d(torch.relu(normed) + z, 3, 2, 1)
    logits = f.linear(z.permute(0, 2, 3, 1).flatten(1), theirs[5], theirs[6])
    loss = f.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    assert float(value) == pytest.approx(loss.item(), rel=1e-12)
    grads = [one.grad.numpy() for one in theirs]
    for i, axes in ((0, (2, 3, 1, 0)), (2, (2, 3, 1, 0)), (5, (1, 0))):
        grads[i] = np.transpose(grads[i], axes)
    expected = (
        {"kernel": grads[0], "bias": grads[1]},
        (),
        (({"kernel": grads[2]}, {"scale": grads[3], "offset": grads[4]}, ()), ()),
        (),
        (),
        {"kernel": grads[5], "bias": grads[6]},
    )
    assert_close(gradient, expected)


def test_jit_and_vmap_change_nothing(x64):
    network = backprop.serial(
        backprop.linear, backprop.batch_norm(), backprop.tanh, backprop.linear
    )
    run = functools.partial(backprop.value_and_gradient, network, backprop.half_squared_error)
    members = [
        (({"kernel": normal(i, 3, 4)}, (), (), {"kernel": normal(i + 2, 4, 2)}), normal(i, 5, 3))
        for i in range(2)
    ]
    targets = normal(9, 5, 2)
    together = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    alone = [run(*member, targets) for member in members]
    batched = jax.jit(jax.vmap(run, in_axes=(0, 0, None)))(*together, targets)
    assert_close(batched, jax.tree.map(lambda *leaves: np.stack(leaves), *alone), 1e-12)


# ----------------------------------------------------------------------------- what goes wrong


def with_mistakes():
    """A network, and the same with one rule of it wrong, by the mistake."""
    conv, norm = backprop.conv(padding=1), backprop.batch_norm()

    def network(conv=conv, merge=backprop.add, norm=norm, output=backprop.tanh):
        return backprop.serial(
            backprop.conv(padding=1),
            backprop.branch(merge, conv, backprop.softplus),
            norm,
            backprop.global_avg_pool,
            backprop.linear,
            output,
        )

    def unturned(params, x, delta):
        kernel = params["kernel"].swapaxes(2, 3)
        return conv.backward(params, x, delta)[0], F.conv(delta, kernel, padding=1)

    def constant_statistics(params, saved, delta):
        return (), delta / jnp.sqrt(saved[2] + 1e-5)

    return network(), {
        "the slope of tanh": network(
            output=backprop.elementwise(F.tanh, lambda a, z: 1 - z),
        ),
        "one of two branches": network(
            merge=backprop.function(sum, lambda xs, y, delta: [delta, 0 * delta])
        ),
        "the batch's statistics": network(norm=Rule(norm.forward, constant_statistics)),
        "a kernel not turned": network(conv=Rule(conv.forward, unturned)),
    }


def test_finite_differences_tell_right_from_wrong(x64):
    right, wrong = with_mistakes()
    params = (
        {"kernel": normal(0, 3, 3, 2, 2)},
        ({"kernel": normal(1, 3, 3, 2, 2)}, ()),
        (),
        (),
        {"kernel": normal(2, 2, 8), "bias": normal(3, 8)},
        (),
    )  # 96 numbers: a multiple of finite_differences.BLOCK, so no rest has a program of its own
    x, targets, loss = normal(4, 3, 4, 5, 2), normal(5, 3, 8), backprop.half_squared_error

    @compiled
    def errors(params):
        expected = finite_differences.gradient(
            lambda params: loss(right.forward(params, x)[0], targets)[0], params
        )
        return {
            mistake: jax.tree.map(
                lambda mine, theirs: jnp.max(jnp.abs(mine - theirs)) / jnp.max(jnp.abs(theirs)),
                backprop.value_and_gradient(network, loss, params, x, targets)[1],
                expected,
            )
            for mistake, network in ({"none": right} | wrong).items()
        }

    largest = {mistake: max(jax.tree.leaves(tree)) for mistake, tree in errors(params).items()}
    assert largest.pop("none") < 1e-8
    assert min(largest.values()) > 1e-2, largest


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: backprop.serial(backprop.linear, backprop.relu).forward(({},), jnp.ones(3)),
            ValueError,
            "serial: params are .* but a tuple with one for each of the 2 rules is wanted",
        ),
        (
            lambda: backprop.branch(backprop.add, backprop.relu).forward([()], jnp.ones(3)),
            ValueError,
            "branch: params are",
        ),
        (
            lambda: backprop.serial(backprop.conv).forward(((),), jnp.ones(3)),
            TypeError,
            "serial: expected a Rule, got <function conv",
        ),
        (
            lambda: backprop.add.forward((), (jnp.ones((2, 3)), jnp.ones((2, 1)))),
            ValueError,
            r"add: first \(2, 3\) and another \(2, 1\) differ in shape",
        ),
        (
            lambda: backprop.linear.forward({"kernel": jnp.ones((3, 2))}, jnp.ones((4, 5))),
            ValueError,
            r"linear: x \(4, 5\) and kernel \(3, 2\) do not fit",
        ),
        (
            lambda: backprop.linear.forward(
                {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(1)}, jnp.ones((4, 3))
            ),
            ValueError,
            r"linear: bias has shape \(1,\), but \(2,\) is wanted",
        ),
        (
            lambda: backprop.conv().forward(
                {"kernel": jnp.ones((2, 2, 1, 3)), "bias": jnp.ones(2)}, jnp.ones((1, 4, 4, 1))
            ),
            ValueError,
            r"conv: bias has shape \(2,\), but \(3,\) is wanted",
        ),
        (lambda: backprop.conv(stride=0), ValueError, "conv: stride is 0"),
        (lambda: backprop.max_pool(0), ValueError, "max_pool: window is 0"),
        (lambda: backprop.avg_pool(2, padding=2), ValueError, "avg_pool: padding is 2, but less"),
        (
            lambda: backprop.half_squared_error(jnp.ones((2, 3)), jnp.ones(2)),
            ValueError,
            "differ in shape",
        ),
        (
            lambda: backprop.cross_entropy(jnp.ones((2, 3)), jnp.array([0, 3])),
            ValueError,
            r"labels\[1\] is 3",
        ),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
