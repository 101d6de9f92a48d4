"""Loss functions: predictions and what they should have been in, one number out.

A loss is first a value per example, then reduced over the examples by name: `reduction="none"`
gives the values themselves, "sum" their sum, "mean" (the default) their mean.

Nothing broadcasts: shapes that differ are refused. Labels out of range are refused where they are
concrete; under jit, where nothing can be raised, the loss and the gradient of that example are NaN.

bfloat16 and float16 are computed, and returned, in float32; otherwise the dtype of the predictions
is kept, and labels and targets are cast to it.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from dlcore.checks import (
    class_rows,
    floating,
    is_concrete,
    log_base,
    one_of,
    rounding,
    same_shape,
    unit_interval,
    valid,
    values_of,
    wide_dtype,
)
from dlcore.functional.activations import log_softmax, relu, sigmoid

Reduction = Literal["none", "sum", "mean"]
Form = Literal["mean", "sum", "half_sum"]


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    base: float = math.e,
    reduction: Reduction = "mean",
) -> jax.Array:
    """Cross-entropy −Σⱼ tⱼ log hⱼ of h = softmax(logits) with the labels t.

    Args:
        logits: [..., C]; every leading axis counts examples.
        labels: class indices [...] in 0 … C − 1, or a distribution over the classes [..., C].
        label_smoothing: ε in [0, 1]; t becomes (1 − ε)t + ε/C. Szegedy et al. 2015, section 7.
        base: of the logarithm: e gives nats, 2 bits.
        reduction: over the examples.

    −1 is out of range, not "ignore" as PyTorch's −100: reduce with weights of 0 instead.

    >>> round(float(cross_entropy(jnp.zeros([3, 4]), jnp.array([0, 1, 3]), base=2)), 6)
    2.0
    """
    logits = _wide("cross_entropy", "logits", logits)
    targets = _targets("cross_entropy", logits, labels)
    if is_concrete(label_smoothing) and not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, but 0 ≤ ε ≤ 1")
    targets = (1 - label_smoothing) * targets + label_smoothing / logits.shape[-1]
    nats = -jnp.sum(_times_log(targets, log_softmax(logits)), axis=-1)
    return _reduce("cross_entropy", nats / log_base("cross_entropy", base), reduction)


def cross_entropy_probabilities(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    base: float = math.e,
    reduction: Reduction = "mean",
) -> jax.Array:
    """Cross-entropy −Σⱼ tⱼ log hⱼ of probabilities h in [0, 1], shapes as for `cross_entropy`.

    0·log 0 = 0. A true class of probability 0 has no finite loss; h is clipped at the dtype's
    smallest normal number (a loss of 87 nats in float32), and is constant, without gradient, below.
    Logits are the better input: no probability is so small that they could not express it.
    """
    name = "cross_entropy_probabilities"
    h = unit_interval(name, "probabilities", floating(name, "probabilities", probabilities))
    targets = _targets(name, h, labels)
    nats = -jnp.sum(targets * _clipped_log(h), axis=-1)
    return _reduce(name, nats / log_base(name, base), reduction)


def negative_log_likelihood(
    log_probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    base: float = math.e,
    reduction: Reduction = "mean",
) -> jax.Array:
    """−Σⱼ tⱼ log hⱼ of logarithms log h ≤ 0, natural ones, shapes as for `cross_entropy`.

    PyTorch's NLLLoss, for what gives log h itself: log_softmax, a log-sum of experts, a decoder.
    −∞ is the probability 0, whose loss is ∞ where the class is true and 0 where it is not.
    """
    name = "negative_log_likelihood"
    log_h = _wide(name, "log_probabilities", log_probabilities)
    targets = _targets(name, log_h, labels)
    slack = rounding(jnp.result_type(log_probabilities))
    wanted = "a logarithm of a probability is at most 0: log_softmax(logits)"
    in_range = valid(name, "log_probabilities", log_h, lambda p: p <= slack, wanted)
    nats = -jnp.sum(_times_log(targets, jnp.where(in_range, log_h, jnp.nan)), axis=-1)
    return _reduce(name, nats / log_base(name, base), reduction)


def binary_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    base: float = math.e,
    reduction: Reduction = "mean",
) -> jax.Array:
    """Binary cross-entropy −Σ [t log h + (1 − t) log(1 − h)] of h = σ(logits).

    logits [N, ...] and labels t of the same shape, each in [0, 1]; Σ is over the outputs of one
    example, if there are several. PyTorch's and optax's mean divides by their number too.
    """
    logits = _wide("binary_cross_entropy", "logits", logits)
    same_shape("binary_cross_entropy", logits=logits, labels=labels)
    t = unit_interval("binary_cross_entropy", "labels", labels).astype(logits.dtype)
    nats = _sum_over_outputs(_bernoulli_nats(logits, t))
    return _reduce("binary_cross_entropy", nats / log_base("binary_cross_entropy", base), reduction)


def binary_cross_entropy_probabilities(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    base: float = math.e,
    reduction: Reduction = "mean",
) -> jax.Array:
    """Binary cross-entropy −Σ [t log h + (1 − t) log(1 − h)] of probabilities h in [0, 1].

    Shapes as for `binary_cross_entropy`, clipping as for `cross_entropy_probabilities`.
    """
    name = "binary_cross_entropy_probabilities"
    h = unit_interval(name, "probabilities", floating(name, "probabilities", probabilities))
    same_shape(name, probabilities=h, labels=labels)
    t = unit_interval(name, "labels", labels).astype(h.dtype)
    nats = -_sum_over_outputs(t * _clipped_log(h) + (1 - t) * _clipped_log(1 - h))
    return _reduce(name, nats / log_base(name, base), reduction)


def squared_error(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    form: Form = "mean",
    reduction: Reduction = "mean",
) -> jax.Array:
    """Squared error of predictions y [N, ...] with targets t of the same shape.

    `form` combines the outputs of one example: "mean" (1/K)Σₖ(yₖ − tₖ)², "sum" Σₖ(yₖ − tₖ)²,
    "half_sum" ½Σₖ(yₖ − tₖ)², whose gradient is y − t. `reduction` then combines the examples.
    So ½ΣₙΣₖ(y − t)² is `form="half_sum", reduction="sum"`, and the mean squared error is the
    default. Without axes after N the three forms are e², e² and ½e².

    >>> float(squared_error(jnp.array([[1.0, 2.0]]), jnp.zeros([1, 2]), form="half_sum"))
    2.5
    """
    error = _error("squared_error", predictions, targets)
    return _reduce("squared_error", _combine("squared_error", error**2, form), reduction)


def absolute_error(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    form: Form = "mean",
    reduction: Reduction = "mean",
) -> jax.Array:
    """Absolute error |y − t|, combined by `form` and `reduction` as in `squared_error`.

    Its derivative is sign(y − t), with sign(0) = 0.
    """
    error = _error("absolute_error", predictions, targets)
    size = error * jnp.sign(error)  # jnp.abs, but for its derivative of 1 at 0
    return _reduce("absolute_error", _combine("absolute_error", size, form), reduction)


def huber(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    delta: float = 1.0,
    form: Form = "mean",
    reduction: Reduction = "mean",
) -> jax.Array:
    """Huber's loss of e = y − t: ½e² where |e| ≤ δ, else δ(|e| − ½δ), with δ = `delta` > 0.

    Combined by `form` and `reduction` as in `squared_error`. Huber 1964.
    """
    if is_concrete(delta) and not delta > 0:
        raise ValueError(f"huber: delta is {delta}, but must be positive")
    error = _error("huber", predictions, targets)
    size = jnp.abs(error)
    values = jnp.where(size <= delta, error**2 / 2, delta * (size - delta / 2))
    return _reduce("huber", _combine("huber", values, form), reduction)


def hinge(scores: ArrayLike, labels: ArrayLike, *, reduction: Reduction = "mean") -> jax.Array:
    """Hinge loss Σ max(0, 1 − t·y) of scores y [N, ...] with labels t ∈ {−1, +1} of the same shape.

    Σ is over the outputs of one example. At the kink its derivative is 0.

    >>> hinge(jnp.array([3.0, 0.5, 0.5]), jnp.array([1, 1, -1]), reduction="none").tolist()
    [0.0, 0.5, 1.5]
    """
    scores = _wide("hinge", "scores", scores)
    same_shape("hinge", scores=scores, labels=labels)
    wanted = "must be −1 or +1; from 0 and 1: 2 * labels - 1"
    is_sign = valid("hinge", "labels", labels, lambda label: abs(label) == 1, wanted)
    t = jnp.where(is_sign, jnp.asarray(labels).astype(scores.dtype), jnp.nan)
    return _reduce("hinge", _sum_over_outputs(relu(1 - t * scores)), reduction)


def multiclass_hinge(
    scores: ArrayLike, labels: ArrayLike, *, reduction: Reduction = "mean"
) -> jax.Array:
    """Crammer and Singer's hinge loss max(0, 1 + max_{j≠t} yⱼ − yₜ), for class indices t.

    scores y [..., C], labels t [...]. Crammer and Singer 2001; PyTorch's multi_margin_loss is
    another (Weston and Watkins: the sum over j, divided by C).
    """
    scores = _wide("multiclass_hinge", "scores", scores)
    is_true = class_rows("multiclass_hinge", scores, labels).astype(scores.dtype)
    true_score = jnp.sum(_times_log(is_true, scores), axis=-1)
    return _reduce(
        "multiclass_hinge", jnp.max(scores + (1 - is_true), axis=-1) - true_score, reduction
    )


def _reduce(function: str, values: jax.Array, reduction: str) -> jax.Array:
    choices = {"none": lambda values: values, "sum": jnp.sum, "mean": jnp.mean}
    return one_of(function, "reduction", reduction, choices)(values)


def _combine(function: str, values: jax.Array, form: str) -> jax.Array:
    outputs = math.prod(values.shape[1:])
    divisor = one_of(function, "form", form, {"mean": outputs, "sum": 1, "half_sum": 2})
    return _sum_over_outputs(values) / divisor


def _sum_over_outputs(values: jax.Array) -> jax.Array:
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def _wide(function: str, name: str, x: ArrayLike) -> jax.Array:
    x = floating(function, name, x)
    return x.astype(wide_dtype(x.dtype))


def _error(function: str, predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    predictions = _wide(function, "predictions", predictions)
    same_shape(function, predictions=predictions, targets=targets)
    return predictions - jnp.asarray(targets).astype(predictions.dtype)


def _targets(function: str, outputs: jax.Array, labels: Any) -> jax.Array:
    """Labels as distributions [..., C]; their shape says if they are that or class indices."""
    labels = values_of(labels)
    if outputs.ndim == 0 or labels.shape != outputs.shape:
        also = f" or distributions {outputs.shape}"
        return class_rows(function, outputs, labels, also).astype(outputs.dtype)
    targets = unit_interval(function, "labels", labels).astype(outputs.dtype)
    sums_to_one = valid(
        function,
        "labels.sum(-1)",
        labels.astype(wide_dtype(labels.dtype)).sum(-1),
        lambda total: abs(total - 1) <= rounding(labels.dtype),
        "a distribution must sum to 1",
    )
    return jnp.where(sums_to_one[..., None], targets, jnp.nan)


@jax.custom_jvp
def _bernoulli_nats(z: jax.Array, t: jax.Array) -> jax.Array:
    """−t log σ(z) − (1 − t) log(1 − σ(z)), element by element."""
    rest = jnp.log1p(jnp.exp(-jnp.abs(z)))  # −log σ(±z) = max(0, ∓z) + rest
    log_h, log_1_minus_h = -(relu(-z) + rest), -(relu(z) + rest)
    return -(_times_log(t, log_h) + _times_log(1 - t, log_1_minus_h))


@functools.partial(_bernoulli_nats.defjvp, symbolic_zeros=True)
def _bernoulli_nats_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """(σ(z) − t)ż − zṫ, with one exponential: half of a small network's step lay in the others."""
    (z, t), (dz, dt) = primals, tangents
    slopes = ((sigmoid(z) - t, dz), (-z, dt))
    moved = [slope * d for slope, d in slopes if not isinstance(d, SymbolicZero)]
    return _bernoulli_nats(z, t), sum(moved, jnp.zeros_like(z))


def _times_log(t: jax.Array, log_p: jax.Array) -> jax.Array:
    """t·log p, where 0·log 0 = 0."""
    return t * jnp.where((t == 0) & jnp.isneginf(log_p), 0, log_p)


def _clipped_log(p: jax.Array) -> jax.Array:
    """log p, constant below the smallest normal number, where it stays finite."""
    smallest = jnp.finfo(p.dtype).tiny
    return jnp.log(jnp.where(p < smallest, smallest, p))
