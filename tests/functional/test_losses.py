"""A table of losses, each beside its equation in NumPy, crossed with properties."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special
from sklearn import metrics as sklearn_metrics

from dlcore import functional as F
from tests.budget import examples

N, C = 6, 4
GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(scale=2, size=(N, C)).astype(np.float32)
CLASSES = GENERATOR.integers(0, C, N).astype(np.int32)
ROWS = np.eye(C, dtype=np.float32)[CLASSES]
SOFT = special.softmax(GENERATOR.normal(size=(N, C)), axis=-1).astype(np.float32)
PROBABILITIES = special.softmax(LOGITS, axis=-1)
LOGARITHMS = special.log_softmax(LOGITS, axis=-1)
BITS = GENERATOR.integers(0, 2, (N, C)).astype(np.int32)
TARGETS = GENERATOR.normal(size=(N, C)).astype(np.float32)


class Case(NamedTuple):
    loss: Callable
    outputs: np.ndarray
    labels: np.ndarray
    oracle: Callable  # (outputs, labels) in float64 -> one value an example


def _cross_entropy(logits, t):
    return -(t * special.log_softmax(logits, axis=-1)).sum(-1)


def _log_likelihood(h, t):
    return -(special.xlogy(t, h) + special.xlogy(1 - t, 1 - h)).sum(-1)


def _multiclass_hinge(scores, labels):
    true = scores[np.arange(len(scores)), labels]
    others = np.where(np.eye(C)[labels] == 1, -np.inf, scores).max(-1)
    return np.maximum(0, 1 + others - true)


def _huber(y, t):
    e = np.abs(y - t)
    return np.where(e <= 0.7, e**2 / 2, 0.7 * (e - 0.35)).sum(-1)


def _form(form):
    return functools.partial(F.squared_error, form=form)


CASES = {
    "cross_entropy": Case(
        F.cross_entropy, LOGITS, CLASSES, lambda y, t: _cross_entropy(y, np.eye(C)[t])
    ),
    "cross_entropy_rows": Case(F.cross_entropy, LOGITS, ROWS, _cross_entropy),
    "cross_entropy_soft": Case(F.cross_entropy, LOGITS, SOFT, _cross_entropy),
    "cross_entropy_smooth": Case(
        functools.partial(F.cross_entropy, label_smoothing=0.1),
        LOGITS,
        CLASSES,
        lambda y, t: _cross_entropy(y, 0.9 * np.eye(C)[t] + 0.1 / C),
    ),
    "cross_entropy_bits": Case(
        functools.partial(F.cross_entropy, base=2),
        LOGITS,
        CLASSES,
        lambda y, t: _cross_entropy(y, np.eye(C)[t]) / np.log(2),
    ),
    "cross_entropy_probabilities": Case(
        functools.partial(F.cross_entropy_probabilities, base=2),
        PROBABILITIES,
        CLASSES,
        lambda h, t: -np.log2(h[np.arange(N), t]),
    ),
    "negative_log_likelihood": Case(
        F.negative_log_likelihood, LOGARITHMS, CLASSES, lambda y, t: -y[np.arange(N), t]
    ),
    "negative_log_likelihood_soft": Case(
        functools.partial(F.negative_log_likelihood, base=2),
        LOGARITHMS,
        SOFT,
        lambda y, t: -(t * y).sum(-1) / np.log(2),
    ),
    "binary_cross_entropy": Case(
        F.binary_cross_entropy, LOGITS, BITS, lambda y, t: _log_likelihood(special.expit(y), t)
    ),
    "binary_cross_entropy_bits": Case(
        functools.partial(F.binary_cross_entropy, base=2),
        LOGITS,
        BITS,
        lambda y, t: _log_likelihood(special.expit(y), t) / np.log(2),
    ),
    "binary_cross_entropy_probabilities": Case(
        functools.partial(F.binary_cross_entropy_probabilities, base=2),
        PROBABILITIES,
        BITS,
        lambda h, t: _log_likelihood(h, t) / np.log(2),
    ),
    "squared_error": Case(F.squared_error, LOGITS, TARGETS, lambda y, t: ((y - t) ** 2).mean(-1)),
    "squared_error_sum": Case(_form("sum"), LOGITS, TARGETS, lambda y, t: ((y - t) ** 2).sum(-1)),
    "squared_error_half_sum": Case(
        _form("half_sum"), LOGITS, TARGETS, lambda y, t: ((y - t) ** 2).sum(-1) / 2
    ),
    "absolute_error": Case(F.absolute_error, LOGITS, TARGETS, lambda y, t: abs(y - t).mean(-1)),
    "huber": Case(functools.partial(F.huber, delta=0.7, form="sum"), LOGITS, TARGETS, _huber),
    "hinge": Case(F.hinge, LOGITS, 2 * BITS - 1, lambda y, t: np.maximum(0, 1 - t * y).sum(-1)),
    "multiclass_hinge": Case(F.multiclass_hinge, LOGITS, CLASSES, _multiclass_hinge),
}
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
cross_entropy = jax.jit(F.cross_entropy)
cross_entropies = jax.jit(functools.partial(F.cross_entropy, reduction="none"))


def ones(shape):
    return np.ones(shape, np.float32)


def none(case):
    return functools.partial(case.loss, reduction="none")


@every
def test_value_an_example_is_the_equations(case):
    inputs = [case.outputs.astype(dtype) for dtype in (jnp.float32, jnp.bfloat16)]
    each = jax.jit(lambda inputs: [none(case)(outputs, case.labels) for outputs in inputs])(inputs)
    for outputs, values in zip(inputs, each, strict=True):
        assert values.dtype == jnp.float32
        expected = case.oracle(outputs.astype(np.float64), case.labels)
        np.testing.assert_allclose(values, expected, 1e-5, 1e-6)


@every
def test_reductions_jit_vmap_and_eager_agree(case):
    @jax.jit
    def traced(outputs, labels):
        reductions = [case.loss(outputs, labels, reduction=name) for name in ("sum", "mean")]
        pairs = outputs.reshape(2, 3, C), labels.reshape(2, 3, *labels.shape[1:])
        return none(case)(outputs, labels), jax.vmap(none(case))(*pairs).ravel(), *reductions

    each, mapped, total, mean = traced(case.outputs, case.labels)
    eager = none(case)(case.outputs, case.labels)
    assert eager.shape == (N,)
    np.testing.assert_allclose(each, eager, 1e-6)
    np.testing.assert_allclose(mapped, eager, 1e-6)
    np.testing.assert_allclose(total, np.sum(eager), 1e-6)
    np.testing.assert_allclose(mean, np.mean(eager), 1e-6)


def test_the_mean_is_the_default():
    np.testing.assert_allclose(
        F.hinge(LOGITS, 2 * BITS - 1), F.hinge(LOGITS, 2 * BITS - 1, reduction="mean")
    )


@every
def test_gradient_is_that_of_finite_differences_of_the_equation(case, x64):
    """In float64, as the value is the equation's there too."""

    def equation(outputs):
        return case.oracle(outputs, case.labels).mean()

    outputs = case.outputs.astype(np.float64)
    steps = 1e-6 * np.eye(outputs.size).reshape(-1, *outputs.shape)
    differences = [equation(outputs + step) - equation(outputs - step) for step in steps]
    expected = np.reshape(differences, outputs.shape) / 2e-6
    value, gradient = jax.jit(jax.value_and_grad(case.loss))(outputs, case.labels)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(value, equation(outputs), 1e-6)
    np.testing.assert_allclose(gradient, expected, 1e-6, 1e-8)


@every
def test_value_and_gradient_are_finite_at_the_extremes(case):
    at_10000 = np.sign(case.outputs) * np.float32(1e4)
    at_half_of_max = np.sign(case.outputs) * np.finfo(np.float32).max / 2
    if case.outputs is PROBABILITIES:
        at_10000 = at_half_of_max = np.round(case.outputs)
    gradient = jax.jit(jax.vmap(jax.value_and_grad(case.loss)))
    labels = case.labels[:, None]
    assert all(np.isfinite(part).all() for part in gradient(at_10000[:, None], labels))
    assert np.isfinite(gradient(at_half_of_max[:, None], labels)[1]).all()


@every
def test_integers_and_unknown_reductions_are_refused(case):
    with pytest.raises(TypeError, match=r"is int32, .*\.astype\(jnp\.float32\)$"):
        case.loss(np.ones([N, C], np.int32), case.labels)
    with pytest.raises(
        ValueError, match=r"'average', but must be one of \['none', 'sum', 'mean'\]"
    ):
        case.loss(case.outputs, case.labels, reduction="average")


@pytest.mark.parametrize(
    "loss",
    [
        F.squared_error,
        F.absolute_error,
        F.huber,
        F.hinge,
        F.binary_cross_entropy,
        F.binary_cross_entropy_probabilities,
    ],
)
def test_elementwise_losses_refuse_to_broadcast(loss):
    for shapes in [((5,), (5, 1)), ((5, 1), (5,))]:
        with pytest.raises(ValueError, match=r"\.reshape\(") as caught:
            loss(*map(ones, shapes))
        assert all(str(shape) in str(caught.value) for shape in shapes)
    with pytest.raises(ValueError, match=r"\(5, 2\).*\(5, 1\)"):
        loss(ones([5, 2]), ones([5, 1]))
    for shape in [(5,), (5, 1), (5, 2, 3)]:
        alike = jax.ShapeDtypeStruct(shape, jnp.float32)
        values = jax.eval_shape(functools.partial(loss, reduction="none"), alike, alike)
        assert values.shape == (5,)


CLASS_LOSSES = [
    F.cross_entropy,
    F.cross_entropy_probabilities,
    F.negative_log_likelihood,
    F.multiclass_hinge,
]


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_class_losses_refuse_labels_of_another_shape(loss):
    zeros = np.zeros([5, 3], np.float32)
    with pytest.raises(ValueError, match=r"labels \(5, 1\).*\(5, 3\).*labels\.reshape\(\(5,\)\)"):
        loss(zeros, np.zeros([5, 1], int))
    for shape in [(), (1,), (4,), (5, 2), (5, 4), (1, 3), (5, 3, 1)]:
        with pytest.raises(ValueError, match=r"do not fit outputs \(5, 3\)"):
            loss(zeros, np.zeros(shape, int))
    with pytest.raises(ValueError, match="axis of classes"):
        loss(np.float32(0), np.int32(0))
    with pytest.raises(TypeError, match=r"labels are float32, .*labels\.astype\(jnp\.int32\)"):
        loss(zeros, np.zeros(5, np.float32))


@functools.cache
def values_and_gradients(loss):
    """Compiled, an example each."""

    @jax.jit
    def traced(outputs, labels):
        value, gradient = jax.vmap(jax.value_and_grad(loss))(outputs, labels)
        return loss(outputs, labels, reduction="none"), value, gradient.sum(-1)

    return traced


@pytest.mark.parametrize("loss", CLASS_LOSSES)
@pytest.mark.parametrize("label", [-1, 3, 300, -(2**31)])
def test_a_label_out_of_range_is_refused_or_nan(loss, label):
    outputs = np.full([4, 3], -0.5 if loss is F.negative_log_likelihood else 0.5, np.float32)
    labels = np.array([0, 2, label, label], np.int32)
    message = rf"labels\[2\] is {label}, but must be one of the 3 classes, 0 … 2"
    for refuse in (loss, jax.grad(loss), jax.jit(lambda outputs, _: loss(outputs, labels))):
        with pytest.raises(ValueError, match=message):
            refuse(outputs, labels)

    for part in values_and_gradients(loss)(outputs, labels):
        np.testing.assert_array_equal(np.isnan(part), [False, False, True, True])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.uint32])
def test_every_integer_dtype_indexes_more_classes_than_it_can_count(dtype, x64):
    labels = np.array([0, 100, 127], dtype)
    logits = np.random.default_rng(1).normal(size=(3, 300))
    expected = -special.log_softmax(logits, axis=-1)[np.arange(3), labels.astype(int)]
    both = jax.jit(lambda x, t: (F.cross_entropy(x, t), F.cross_entropy(x, labels)))
    np.testing.assert_allclose(both(logits, labels), [expected.mean()] * 2, 1e-6)


def test_a_place_in_a_batch_of_sequences_is_named():
    labels = np.zeros([2, 5], int)
    labels[1, 3] = 9
    with pytest.raises(ValueError, match=r"labels\[1, 3\] is 9"):
        F.cross_entropy(ones([2, 5, 4]), labels)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.6, 0.2], r"labels\.sum\(-1\)\[1\] is 1\.3"),
        ([0, 0, 0], r"labels\.sum\(-1\)\[1\] is 0\.0"),
        ([1.5, -0.5, 0], r"labels\[1, 0\] is 1\.5"),
        ([np.nan, 1, 0], r"labels\[1, 0\] is nan"),
    ],
)
def test_rows_that_are_no_distribution_are_refused_or_nan(row, message):
    labels = np.array([[0, 1, 0], row], np.float32)
    with pytest.raises(ValueError, match=message):
        F.cross_entropy(ones([2, 3]), labels)
    values = cross_entropies(ones([2, 3]), labels)
    np.testing.assert_array_equal(np.isnan(values), [False, True])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.int32, jnp.bool_])
def test_one_hot_rows_of_any_dtype(dtype):
    np.testing.assert_allclose(
        cross_entropy(LOGITS, ROWS.astype(dtype)), cross_entropy(LOGITS, CLASSES), 1e-6
    )


def test_soft_rows_may_be_rounded_to_bfloat16():
    rounded = SOFT.astype(jnp.bfloat16)
    np.testing.assert_allclose(cross_entropy(LOGITS, rounded), cross_entropy(LOGITS, SOFT), 2e-2)


@pytest.mark.parametrize(
    ("loss", "bad", "message"),
    [
        (F.binary_cross_entropy, -1, r"labels\[1\] is -1\.0, but must lie in \[0, 1\]"),
        (F.binary_cross_entropy_probabilities, 2, r"labels\[1\] is 2\.0, but must lie in"),
        (F.hinge, 0, r"labels\[1\] is 0, but must be −1 or \+1; .* 2 \* labels - 1"),
    ],
)
def test_a_binary_label_out_of_range_is_refused_or_nan(loss, bad, message):
    outputs, labels = np.full(3, 0.5, np.float32), np.array([1, bad, 1], np.int32)
    with pytest.raises(ValueError, match=message):
        loss(outputs, labels)
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(loss)))(outputs, labels)
    np.testing.assert_array_equal(np.isnan(value), [False, True, False])
    np.testing.assert_array_equal(np.isnan(gradient), [False, True, False])


@pytest.mark.parametrize(
    ("loss", "labels"),
    [(F.cross_entropy_probabilities, [1]), (F.binary_cross_entropy_probabilities, [[0, 1]])],
)
@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_probabilities_outside_0_1_are_refused_or_nan(loss, labels, bad):
    probabilities = np.array([[0.5, bad]], np.float32)
    with pytest.raises(ValueError, match=r"probabilities\[0, 1\] is .*, but must lie in \[0, 1\]"):
        loss(probabilities, np.array(labels))
    assert np.isnan(jax.jit(loss)(probabilities, np.array(labels)))


def test_probabilities_at_0_and_1():
    h = np.eye(2, dtype=np.float32)
    classes, bits = np.array([0, 0]), np.array([[1, 1], [0, 0]])
    cross = functools.partial(F.cross_entropy_probabilities, reduction="none")
    binary = functools.partial(F.binary_cross_entropy_probabilities, reduction="none")

    @jax.jit
    def values_and_jacobians(h, classes, bits):
        values = cross(h, classes), binary(h.ravel(), bits.ravel())
        return values, [jax.jacobian(cross)(h, classes), jax.jacobian(binary)(h, bits)]

    clipped = -math.log(np.finfo(np.float32).tiny)
    (of_classes, of_bits), jacobians = values_and_jacobians(h, classes, bits)
    np.testing.assert_allclose(of_classes, [0, clipped], 1e-6)
    np.testing.assert_allclose(of_bits, [0, clipped, 0, clipped], 1e-6)
    assert all(np.isfinite(jacobian).all() for jacobian in jacobians)


@pytest.mark.parametrize("bad", [0.1, np.inf, np.nan])
def test_logarithms_above_0_are_refused_or_nan(bad):
    logarithms, label = np.array([[-0.5, bad]], np.float32), np.array([1])
    with pytest.raises(
        ValueError, match=r"log_probabilities\[0, 1\] is .*: log_softmax\(logits\)$"
    ):
        F.negative_log_likelihood(logarithms, label)
    assert np.isnan(jax.jit(F.negative_log_likelihood)(logarithms, label))
    with pytest.raises(ValueError, match="at most 0"):  # a probability
        F.negative_log_likelihood(PROBABILITIES, CLASSES)


def test_a_logarithm_of_0_costs_nothing_where_the_label_is_elsewhere():
    loss = jax.jit(jax.value_and_grad(F.negative_log_likelihood))
    value, gradient = loss(np.float32([0, -np.inf]), np.int32(0))
    assert (value, gradient.tolist()) == (0, [-1, 0])
    assert loss(np.float32([0, -np.inf]), np.int32(1))[0] == np.inf


def test_masked_logits_cost_nothing_where_the_label_is_elsewhere():
    logits, label = np.array([1, -np.inf, 1], np.float32), np.int32(0)
    value, gradient = jax.jit(jax.value_and_grad(F.cross_entropy))(logits, label)
    np.testing.assert_allclose(value, math.log(2), 1e-6)
    np.testing.assert_allclose(gradient, [-0.5, 0, 0.5], 1e-6)
    value, gradient = jax.jit(jax.value_and_grad(F.binary_cross_entropy))(np.inf, 1.0)
    np.testing.assert_array_equal([value, gradient], [0, 0])


def test_cross_entropy_gradient_for_soft_labels(x64):
    loss = functools.partial(F.cross_entropy, reduction="sum")
    gradient = jax.jit(jax.grad(loss, 1))(LOGITS.astype(float), SOFT.astype(float))
    np.testing.assert_allclose(gradient, -special.log_softmax(LOGITS.astype(float), axis=-1), 1e-9)


@examples(20)
@given(
    logits=hnp.arrays(np.float32, (3, 5), elements=st.floats(-1024, 1024, width=32)),
    labels=hnp.arrays(np.int32, 3, elements=st.integers(0, 4)),
    shift=st.integers(-1024, 1024),
)
def test_cross_entropy_is_positive_and_blind_to_a_shift(logits, labels, shift):
    value = cross_entropy(logits, labels)
    assert value >= 0
    shifted = cross_entropy(logits + np.float32(shift), labels)
    np.testing.assert_allclose(shifted, value, 1e-3, 1e-3)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("labels", [CLASSES, SOFT], ids=["classes", "soft"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_cross_entropy_is_torchs(label_smoothing, labels, reduction, torch):
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(LOGITS),
        torch.from_numpy(labels).long() if labels is CLASSES else torch.from_numpy(labels),
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    ours = F.cross_entropy(LOGITS, labels, label_smoothing=label_smoothing, reduction=reduction)
    np.testing.assert_allclose(ours, expected.numpy(), 1e-5)


def test_elementwise_losses_are_torchs(torch):
    y, t, bits = (torch.from_numpy(a) for a in (LOGITS, TARGETS, BITS.astype(np.float32)))
    reference = torch.nn.functional
    for ours, expected in [
        (F.squared_error(LOGITS, TARGETS), reference.mse_loss(y, t)),
        (F.absolute_error(LOGITS, TARGETS), reference.l1_loss(y, t)),
        (F.huber(LOGITS, TARGETS, delta=0.5), reference.huber_loss(y, t, delta=0.5)),
        (
            F.binary_cross_entropy(LOGITS, BITS, reduction="sum"),
            reference.binary_cross_entropy_with_logits(y, bits, reduction="sum"),
        ),
        (
            F.binary_cross_entropy_probabilities(PROBABILITIES, BITS, reduction="sum"),
            reference.binary_cross_entropy(torch.from_numpy(PROBABILITIES), bits, reduction="sum"),
        ),
        (
            F.negative_log_likelihood(LOGARITHMS, CLASSES),
            reference.nll_loss(torch.from_numpy(LOGARITHMS), torch.from_numpy(CLASSES).long()),
        ),
    ]:
        np.testing.assert_allclose(ours, expected.numpy(), 1e-5)


def test_losses_are_optaxs(standard_promotion):
    @jax.jit
    def ours_and_theirs(logits, classes, bits, targets):
        signs = 2 * bits - 1
        return [
            (
                F.cross_entropy(logits, classes, reduction="none"),
                optax.softmax_cross_entropy_with_integer_labels(logits, classes),
            ),
            (
                F.binary_cross_entropy(logits, bits, reduction="none"),
                optax.sigmoid_binary_cross_entropy(logits, bits).sum(-1),
            ),
            (F.hinge(logits, signs, reduction="none"), optax.hinge_loss(logits, signs).sum(-1)),
            (
                F.multiclass_hinge(logits, classes, reduction="none"),
                optax.losses.multiclass_hinge_loss(logits, classes),
            ),
            (
                F.huber(logits, targets, delta=2.0, reduction="none"),
                optax.huber_loss(logits, targets, delta=2.0).mean(-1),
            ),
        ]

    for ours, expected in ours_and_theirs(LOGITS, CLASSES, BITS, TARGETS):
        np.testing.assert_allclose(ours, expected, 1e-5, 1e-6)


def test_losses_are_scikit_learns():
    h = PROBABILITIES.astype(np.float64)
    np.testing.assert_allclose(
        F.cross_entropy_probabilities(PROBABILITIES, CLASSES),
        sklearn_metrics.log_loss(CLASSES, h / h.sum(-1, keepdims=True), labels=range(C)),
        1e-5,
    )
    np.testing.assert_allclose(
        F.multiclass_hinge(LOGITS, CLASSES),
        sklearn_metrics.hinge_loss(CLASSES, LOGITS, labels=range(C)),
        1e-5,
    )


@pytest.mark.parametrize(
    ("loss", "output", "label", "gradient"),
    [
        (F.absolute_error, 1.0, 1.0, 0),
        (F.hinge, 1.0, 1.0, 0),
        (F.huber, 1.0, 0.0, 1),
        (F.huber, -1.0, 0.0, -1),
        (F.huber, 0.0, 0.0, 0),
        (_form("half_sum"), 3.0, 1.0, 2),
    ],
)
def test_derivative_of_one_output(loss, output, label, gradient):
    assert jax.jit(jax.grad(loss))(output, label) == gradient


def test_targets_may_be_integers_or_another_float():
    for output, target in [
        (jnp.float32, jnp.int32),
        (jnp.float32, jnp.bfloat16),
        (jnp.bfloat16, jnp.float32),
    ]:
        assert F.squared_error(np.array([1.5], output), np.array([1], target)) == 0.25


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.cross_entropy(LOGITS, CLASSES, base=1), "base is 1"),
        (lambda: F.cross_entropy(LOGITS, CLASSES, label_smoothing=1.1), "label_smoothing is 1.1"),
        (lambda: F.cross_entropy(LOGITS, CLASSES, label_smoothing=-0.1), "label_smoothing is -0.1"),
        (lambda: F.huber(LOGITS, TARGETS, delta=0), "delta is 0"),
        (lambda: F.squared_error(LOGITS, TARGETS, form="half"), "'mean', 'sum', 'half_sum'"),
    ],
)
def test_settings_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


LOGIT = np.array([-80.0, -3.0, -0.5, 0.0, 0.5, 3.0, 80.0])


@jax.jit
def binary_derivatives(z, t):
    """First and second, both ways, of ours and of the plain form."""

    def plain(z, t):
        return t * jnp.logaddexp(0.0, -z) + (1 - t) * jnp.logaddexp(0.0, z)

    def ours(z, t):
        return F.binary_cross_entropy(z, t, reduction="none")

    return [
        [
            jax.vmap(derivative(loss, (0, 1)), (0, None))(z, t)
            for derivative in (jax.grad, jax.jacfwd, jax.hessian)
        ]
        for loss in (ours, plain)
    ]


@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_binary_cross_entropy_has_the_derivatives_of_its_equation(label, x64):
    """Both ways and twice, at 0 too; the oracle is JAX's own rule for the plain form."""
    chex.assert_trees_all_close(*binary_derivatives(LOGIT, label), rtol=1e-12, atol=1e-30)
