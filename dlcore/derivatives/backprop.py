"""Backpropagation by hand: the chain that carries δ down a network, and the rule of each layer.

δ is the derivative of the loss E by the array it stands for, and has its shape. A `Rule` is a layer
in both directions: from δ at its output y come ∂E/∂params and δ at its input x, which is the output
of the layer before. Nothing here is differentiated by JAX.

| rule         | y                       | δ at x                         | ∂E/∂params         |
|--------------|-------------------------|--------------------------------|--------------------|
| `serial`     | fₙ(… f₁(x))             | fₙ's, then fₙ₋₁'s, … then f₁'s | of each            |
| `branch`     | merge(f₁(x), …, fₙ(x))  | the sum of f₁'s, …, fₙ's       | of each            |
| `linear`     | x·kernel + bias         | δ·kernelᵀ                      | xᵀ·δ, Σδ           |
| `conv`       | x ∗ kernel + bias       | δ ∗ kernel, turned around      | x ∗ δ, Σδ          |
| elementwise  | h(x)                    | δ·h′(x)                        |                    |
| `softmax`    | eˣ / Σeˣ                | y(δ − Σδy)                     |                    |
| `prelu`      | max(0, x) + α·min(0, x) | δ where x > 0, else αδ         | Σδ·min(0, x)       |
| `rbf`        | Σ(x − centers)²         | 2Σδ(x − centers)               | −2Σδ(x − centers)  |
| `max_pool`   | the largest of a window | δ, where the largest stood     |                    |
| `avg_pool`   | the mean of a window    | δ/n, at all n of the window    |                    |
| `batch_norm` | x̂·scale + offset        | see there                      | Σδx̂, Σδ            |
| `dropout`    | x·mask                  | δ·mask                         |                    |
| `flatten`    | x in two axes           | δ in the shape of x            |                    |

A loss gives (E, δ at the output y), for targets t and E a mean over B examples; a sum over them, as
in the textbooks, has B times this δ. Where the network ends in a = z·kernel + bias, δ at a is

- (y − t)/B for half the squared error of y = a, and for the cross-entropies of y = σ(a) or
  softmax(a), which take the logits a and apply σ or softmax themselves;
- (y − t)·f′(a)/B for half the squared error of y = f(a), whatever f: `serial(…, linear, tanh)`.

Parameters are those of the Layers in `dlcore.nn`: {"kernel", "bias"}, where the bias may be absent,
{"scale", "offset"}, {"alpha"}, {"centers"}, or () where a rule has none. Those of a serial or a
branch are a tuple, one for each rule.

Bishop 2006, Pattern Recognition and Machine Learning, section 5.3.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.checks import class_rows, same_shape
from dlcore.fields import documented
from dlcore.functional import activations, losses, pooling
from dlcore.functional.conv import conv as correlate
from dlcore.functional.linear import linear as product
from dlcore.functional.normalization import moments, normalize
from dlcore.window import Padding, Pair, Size, pads, pair, pool_window, taps

Params = Any
Saved = Any
Loss = Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]]


@documented
class Rule(NamedTuple):
    """A layer in both directions.

    forward: (params, x) -> (y, saved).
    backward: (params, saved, δ at y) -> (∂E/∂params, δ at x).
    """

    forward: Callable[[Params, Any], tuple[Any, Saved]]
    backward: Callable[[Params, Saved, Any], tuple[Params, Any]]


# ---------------------------------------------------------------------------------- the algorithm


def value_and_gradient(
    network: Rule, loss: Loss, params: Params, x: Any, targets: Any
) -> tuple[jax.Array, Params]:
    """The loss E of the network's output for x, and ∂E/∂params in the structure of params.

    One pass forward and one back, each O(W) for W parameters, where `finite_differences` takes
    O(W) passes. Under `jax.jit` nothing is computed in vain, such as δ at the network's input.

    >>> network = serial(linear, tanh, linear)
    >>> params = ({"kernel": jnp.ones([3, 2])}, (), {"kernel": jnp.ones([2, 1])})
    >>> x, targets = jnp.ones([8, 3]), jnp.zeros([8, 1])
    >>> value, gradient = value_and_gradient(network, half_squared_error, params, x, targets)
    >>> jax.tree.map(jnp.shape, gradient)
    ({'kernel': (3, 2)}, (), {'kernel': (2, 1)})
    """
    y, saved = network.forward(params, x)
    value, delta = loss(y, targets)
    gradient, _ = network.backward(params, saved, delta)
    return value, gradient


def serial(*rules: Rule) -> Rule:
    """One layer after another: y = fₙ(… f₁(x)); δ passes them in the opposite order."""

    def forward(params: Params, x: Any) -> tuple[Any, Saved]:
        saved = []
        for rule, own in _pairs("serial", rules, params):
            x, kept = rule.forward(own, x)
            saved.append(kept)
        return x, saved

    def backward(params: Params, saved: Saved, delta: Any) -> tuple[Params, Any]:
        gradients = []
        for rule, own, kept in reversed([*zip(rules, params, saved, strict=True)]):
            gradient, delta = rule.backward(own, kept, delta)
            gradients.append(gradient)
        return tuple(reversed(gradients)), delta

    return Rule(forward, backward)


def branch(merge: Rule, *rules: Rule) -> Rule:
    """Several layers on the same x, their outputs merged: y = merge(f₁(x), …, fₙ(x)).

    x acts on E through each of its successors, so δ at x is the sum of what they send back. `merge`
    is `add` or `concat`; a shortcut around a body is `branch(add, body, identity)`.
    """

    def forward(params: Params, x: Any) -> tuple[Any, Saved]:
        passes = [rule.forward(own, x) for rule, own in _pairs("branch", rules, params)]
        outputs, saved = zip(*passes, strict=True)
        y, merged = merge.forward((), outputs)
        return y, (saved, merged)

    def backward(params: Params, saved: Saved, delta: Any) -> tuple[Params, Any]:
        saved, merged = saved
        _, deltas = merge.backward((), merged, delta)
        passes = [
            rule.backward(own, kept, delta)
            for rule, own, kept, delta in zip(rules, params, saved, deltas, strict=True)
        ]
        gradients, deltas = zip(*passes, strict=True)
        return gradients, sum(deltas)

    return Rule(forward, backward)


def function(f: Callable[[Any], Any], back: Callable[[Any, Any, Any], Any]) -> Rule:
    """A layer without parameters: y = f(x), and δ at x is `back(x, y, δ at y)`."""

    def forward(params: Params, x: Any) -> tuple[Any, Saved]:
        y = f(x)
        return y, (x, y)

    def backward(params: Params, saved: Saved, delta: Any) -> tuple[Params, Any]:
        x, y = saved
        return (), back(x, y, delta)

    return Rule(forward, backward)


def _pairs(name: str, rules: Sequence[Rule], params: Params) -> list[tuple[Rule, Params]]:
    """Every rule with its own parameters."""
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"{name}: expected a Rule, got {rule!r}")
    if not isinstance(params, tuple) or len(params) != len(rules):
        raise ValueError(
            f"{name}: params are {jax.tree.structure(params)}, but a tuple with one for each of "
            f"the {len(rules)} rules is wanted, () for a rule without"
        )
    return [*zip(rules, params, strict=True)]


# ---------------------------------------------------------------------------------------- merges


def _sum(xs: Sequence[jax.Array]) -> jax.Array:
    for x in xs:
        same_shape("add", first=xs[0], another=x)
    return sum(xs[1:], start=xs[0])


def _cut(xs: Sequence[jax.Array], y: jax.Array, delta: jax.Array) -> list[jax.Array]:
    *ends, _ = itertools.accumulate(x.shape[-1] for x in xs)
    return jnp.split(delta, ends, axis=-1)


add = function(_sum, lambda xs, y, delta: [delta for _ in xs])
concat = function(lambda xs: jnp.concatenate(xs, axis=-1), _cut)

# ----------------------------------------------------------------------------------- activations


def elementwise(
    h: Callable[[jax.Array], jax.Array], derivative: Callable[[jax.Array, jax.Array], jax.Array]
) -> Rule:
    """z = h(a) of each element, where h′ is `derivative(a, z)`: δ at a is δ·h′.

    >>> scaled_tanh = elementwise(lambda a: 3 * jnp.tanh(a), lambda a, z: (9 - z**2) / 3)
    """
    return function(h, lambda a, z, delta: delta * derivative(a, z))


def _silu_derivative(a: jax.Array, z: jax.Array) -> jax.Array:
    """σ + z(1 − σ)."""
    gate = activations.sigmoid(a)
    return gate + z * (1 - gate)


identity = function(activations.identity, lambda a, z, delta: delta)
step = elementwise(activations.step, lambda a, z: jnp.zeros_like(a))
sigmoid = elementwise(activations.sigmoid, lambda a, z: z * (1 - z))
tanh = elementwise(activations.tanh, lambda a, z: (1 - z) * (1 + z))
relu = elementwise(activations.relu, lambda a, z: (a > 0).astype(a.dtype))
softplus = elementwise(activations.softplus, lambda a, z: activations.sigmoid(a))
silu = elementwise(activations.silu, _silu_derivative)


def leaky_relu(negative_slope: float = 0.01) -> Rule:
    """max(αa, a), whose derivative is 1 where a > 0, else α."""
    return elementwise(
        lambda a: activations.leaky_relu(a, negative_slope),
        lambda a, z: jnp.where(a > 0, 1, jnp.asarray(negative_slope, a.dtype)),
    )


def elu(alpha: float = 1.0) -> Rule:
    """a where a > 0, else α(eᵃ − 1), whose derivative is 1 or αeᵃ."""
    return elementwise(
        lambda a: activations.elu(a, alpha),
        lambda a, z: jnp.where(a > 0, 1, alpha * jnp.exp(jnp.minimum(a, 0))),
    )


def _gelu_derivative(a: jax.Array, z: jax.Array) -> jax.Array:
    """Φ(a) + a·φ(a), for the normal distribution's Φ and its density φ."""
    density = jnp.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)
    return 0.5 * jax.scipy.special.erfc(-a * math.sqrt(0.5)) + a * density


def _softmax_back(a: jax.Array, z: jax.Array, delta: jax.Array) -> jax.Array:
    """Every output depends on every input: ∂zⱼ/∂aₖ = zⱼ([j = k] − zₖ)."""
    return z * (delta - jnp.sum(delta * z, axis=-1, keepdims=True))


def _log_softmax_back(a: jax.Array, z: jax.Array, delta: jax.Array) -> jax.Array:
    """∂zⱼ/∂aₖ = [j = k] − exp zₖ."""
    return delta - jnp.exp(z) * jnp.sum(delta, axis=-1, keepdims=True)


gelu = elementwise(activations.gelu, _gelu_derivative)
softmax = function(activations.softmax, _softmax_back)
log_softmax = function(activations.log_softmax, _log_softmax_back)

# ---------------------------------------------------------------------- layers with parameters


def _linear(params: Params, x: jax.Array) -> tuple[jax.Array, Saved]:
    return _plus_bias("linear", product(x, params["kernel"]), params), x


def _linear_back(params: Params, x: Saved, delta: jax.Array) -> tuple[Params, jax.Array]:
    axes = _leading(x)
    by_kernel, by_bias = jnp.tensordot(x, delta, (axes, axes)), jnp.sum(delta, axes)
    return _like(params, kernel=by_kernel, bias=by_bias), product(delta, params["kernel"].T)


def _prelu(params: Params, x: jax.Array) -> tuple[jax.Array, Saved]:
    return activations.prelu(x, params["alpha"]), x


def _prelu_back(params: Params, x: Saved, delta: jax.Array) -> tuple[Params, jax.Array]:
    """One α () is summed over every axis, one a channel [C] over all but the last."""
    alpha = params["alpha"]
    by_alpha = jnp.sum(delta * jnp.minimum(x, 0), range(x.ndim - alpha.ndim))
    return {"alpha": by_alpha}, jnp.where(x > 0, delta, alpha * delta)


def _rbf(params: Params, x: jax.Array) -> tuple[jax.Array, Saved]:
    return activations.rbf_squared_distance(x, params["centers"]), x


def _rbf_back(params: Params, x: Saved, delta: jax.Array) -> tuple[Params, jax.Array]:
    by_difference = 2 * delta[..., None] * (x[..., None, :] - params["centers"])  # [..., J, D]
    by_centers = -jnp.sum(by_difference, _leading(x))
    return {"centers": by_centers}, jnp.sum(by_difference, axis=-2)


linear = Rule(_linear, _linear_back)
prelu = Rule(_prelu, _prelu_back)
rbf = Rule(_rbf, _rbf_back)


def conv(
    *, stride: Size = 1, padding: Padding = "VALID", dilation: Size = 1, groups: int = 1
) -> Rule:
    """y[i] = Σᵤ x[s·i + d·u]·kernel[u] + bias, in one dimension; see `functional.conv`.

    ∂E/∂kernel[u] = Σᵢ x[d·u + s·i]·δ[i] is the correlation of x with δ in which stride and dilation
    have changed places. δ at x[p] = Σᵤ δ⁺[p − d·u]·kernel[u], where δ⁺[s·i] = δ[i] with zeros
    between, is the correlation of δ⁺ with the kernel turned around. Both go group by group.
    """
    stride, dilation = pair("conv", "stride", stride), pair("conv", "dilation", dilation)
    window: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }

    def forward(params: Params, x: jax.Array) -> tuple[jax.Array, Saved]:
        return _plus_bias("conv", correlate(x, params["kernel"], **window), params), x

    def backward(params: Params, x: Saved, delta: jax.Array) -> tuple[Params, jax.Array]:
        kernel = params["kernel"]
        height, width = kernel.shape[:2]
        sides = pads("conv", x, (height, width), stride, padding, dilation)

        def back(x: jax.Array, kernel: jax.Array, delta: jax.Array) -> tuple[jax.Array, jax.Array]:
            by_kernel = correlate(
                x.transpose(3, 1, 2, 0),  # the sum is over the batch, for every channel
                delta.transpose(1, 2, 0, 3),
                stride=dilation,
                padding=sides,
                dilation=stride,
            )
            by_kernel = by_kernel[:, :height, :width].transpose(1, 2, 0, 3)
            reach = (dilation[0] * (height - 1), dilation[1] * (width - 1))
            start = (reach[0] - sides[0][0], reach[1] - sides[1][0])
            spread = _spread(delta, start, stride, (x.shape[1] + reach[0], x.shape[2] + reach[1]))
            turned = kernel[::-1, ::-1].swapaxes(2, 3)
            return by_kernel, correlate(spread, turned, dilation=dilation)

        # Groups are consecutive channels, and these the last axis of all three arrays.
        def split(array: jax.Array) -> jax.Array:
            return array.reshape(*array.shape[:3], groups, -1)

        by_kernel, by_x = jax.vmap(back, 3, 3)(split(x), split(kernel), split(delta))
        by_bias = jnp.sum(delta, _leading(delta))
        gradient = _like(params, kernel=by_kernel.reshape(kernel.shape), bias=by_bias)
        return gradient, by_x.reshape(x.shape)

    return Rule(forward, backward)


def batch_norm(*, eps: float = 1e-5) -> Rule:
    """y = x̂·scale + offset in training: x̂ = (x − μ)/σ with the batch's μ and σ² = var + eps.

    With δ̂ = δ·scale, δ at x is (δ̂ − mean(δ̂) − x̂·mean(δ̂·x̂))/σ, since every x moves μ and σ too.
    Ioffe and Szegedy 2015, section 3. Running averages have no gradient and are not kept here.
    """

    def forward(params: Params, x: jax.Array) -> tuple[jax.Array, Saved]:
        mean, var = moments(x, _leading(x))
        return normalize(x, mean, var, **dict(params), eps=eps), (x, mean, var)

    def backward(params: Params, saved: Saved, delta: jax.Array) -> tuple[Params, jax.Array]:
        x, mean, var = saved
        axes, wide = _leading(x), mean.dtype
        normal, delta = normalize(x.astype(wide), mean, var, eps=eps), delta.astype(wide)
        gradient = _like(params, scale=jnp.sum(delta * normal, axes), offset=jnp.sum(delta, axes))
        if "scale" in params:
            delta = delta * params["scale"].astype(wide)
        centered = delta - jnp.mean(delta, axes) - normal * jnp.mean(delta * normal, axes)
        return gradient, (centered * lax.rsqrt(var + eps)).astype(x.dtype)

    return Rule(forward, backward)


def _plus_bias(name: str, y: jax.Array, params: Params) -> jax.Array:
    if "bias" not in params:
        return y
    if params["bias"].shape != y.shape[-1:]:
        raise ValueError(
            f"{name}: bias has shape {params['bias'].shape}, but {y.shape[-1:]} is wanted, the "
            "last axis of the kernel"
        )
    return y + params["bias"]


def _like(params: Params, **gradients: jax.Array) -> Params:
    """Those of the gradients that have a parameter, in its dtype."""
    return {name: gradients[name].astype(params[name].dtype) for name in params} or params


def _leading(x: jax.Array) -> tuple[int, ...]:
    """All axes but the last."""
    return tuple(range(x.ndim - 1))


# -------------------------------------------------------------------- layers without parameters

Take = Callable[[jax.Array, float], jax.Array]


def max_pool(window: Size, stride: Size | None = None, padding: Padding = "VALID") -> Rule:
    """The largest of each window; δ goes to where it stood, the first place among equals."""

    def shares(x: jax.Array, take: Take, delta: jax.Array) -> list[jax.Array]:
        places = take(x, -jnp.inf)
        winner = jnp.argmax(places, axis=0)
        return [jnp.where(winner == i, delta, 0) for i in range(len(places))]

    return function(
        lambda x: pooling.max_pool(x, window, stride, padding),
        _pool_back("max_pool", window, stride, padding, shares),
    )


def avg_pool(
    window: Size,
    stride: Size | None = None,
    padding: Padding = "VALID",
    *,
    count_include_pad: bool = True,
) -> Rule:
    """The mean of each window; all of its n places receive δ/n."""

    def shares(x: jax.Array, take: Take, delta: jax.Array) -> list[jax.Array]:
        counted = take(jnp.ones_like(x), float(count_include_pad))
        return [delta / jnp.sum(counted, axis=0)] * len(counted)

    return function(
        lambda x: pooling.avg_pool(x, window, stride, padding, count_include_pad=count_include_pad),
        _pool_back("avg_pool", window, stride, padding, shares),
    )


def _pool_back(
    name: str,
    window: Size,
    stride: Size | None,
    padding: Padding,
    shares: Callable[[jax.Array, Take, jax.Array], list[jax.Array]],
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """δ at x, where `shares(x, take, δ)` says what of δ each of the n places of a window receives.

    `take(x, fill)` is x at these places, row by row: [n, B, H′, W′, C], with `fill` for padding.
    """
    size, step = pool_window(name, window, stride, padding)
    height, width = size

    def back(x: jax.Array, y: jax.Array, delta: jax.Array) -> jax.Array:
        (top, bottom), (left, right) = pads(name, x, size, step, padding)

        def take(x: jax.Array, fill: float) -> jax.Array:
            around = [(0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0)]
            padded = lax.pad(x, jnp.asarray(fill, x.dtype), around)
            rows = taps(padded, height, step[0], axis=1)
            return jnp.stack([place for row in rows for place in taps(row, width, step[1], axis=2)])

        starts = itertools.product(range(-top, height - top), range(-left, width - left))
        spread = (
            _spread(share, start, step, x.shape[1:3])
            for start, share in zip(starts, shares(x, take, delta), strict=True)
        )
        return functools.reduce(jnp.add, spread)

    return back


def _spread(delta: jax.Array, start: Sequence[int], stride: Pair, size: Sequence[int]) -> jax.Array:
    """Zeros [B, *size, C] with δ at start, start + stride, …; what falls outside is left out."""
    around = [
        (low, length - low - (count - 1) * step - 1, step - 1)
        for low, length, step, count in zip(start, size, stride, delta.shape[1:3], strict=True)
    ]
    return lax.pad(delta, jnp.zeros((), delta.dtype), [(0, 0, 0), *around, (0, 0, 0)])


def _global_avg_back(x: jax.Array, y: jax.Array, delta: jax.Array) -> jax.Array:
    between = tuple(range(1, x.ndim - 1))
    return jnp.broadcast_to(jnp.expand_dims(delta, between), x.shape) * (y.size / x.size)


def _global_max_back(x: jax.Array, y: jax.Array, delta: jax.Array) -> jax.Array:
    """Equals share δ, as the gradient of jnp.max does it."""
    between = tuple(range(1, x.ndim - 1))
    y, delta = jnp.expand_dims(y, between), jnp.expand_dims(delta, between)
    largest = (x == y).astype(x.dtype)
    return delta * largest / jnp.sum(largest, between, keepdims=True)


def dropout(mask: jax.Array) -> Rule:
    """y = x·mask, whose elements are 0 or 1/(1 − rate): `functional.dropout(key, ones, rate)`."""
    return function(
        lambda x: x * jnp.asarray(mask, x.dtype),
        lambda x, y, delta: delta * jnp.asarray(mask, delta.dtype),
    )


global_avg_pool = function(pooling.global_avg_pool, _global_avg_back)
global_max_pool = function(pooling.global_max_pool, _global_max_back)
flatten = function(
    lambda x: x.reshape(x.shape[0], math.prod(x.shape[1:])),
    lambda x, y, delta: delta.reshape(x.shape),
)

# ---------------------------------------------------------------------------------------- losses


def half_squared_error(y: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """E = ½ΣΣ(y − t)²/B for outputs y [B, ...] and targets t of the same shape; δ = (y − t)/B."""
    value = losses.squared_error(y, targets, form="half_sum")
    return value, (y - jnp.asarray(targets, y.dtype)) / y.shape[0]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """E = −ΣΣ t·log y/B for y = softmax(logits), logits [..., C]; δ = (y − t)/B.

    The labels t are class indices [...] or distributions [..., C].
    """
    value = losses.cross_entropy(logits, labels)
    is_class = jnp.shape(labels) != logits.shape
    t = class_rows("cross_entropy", logits, labels) if is_class else jnp.asarray(labels)
    error = activations.softmax(logits) - t.astype(logits.dtype)
    return value, error / math.prod(logits.shape[:-1])


def binary_cross_entropy(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """E = −ΣΣ[t·log y + (1 − t)·log(1 − y)]/B for y = σ(logits), [B, ...]; δ = (y − t)/B."""
    value = losses.binary_cross_entropy(logits, labels)
    error = activations.sigmoid(logits) - jnp.asarray(labels, logits.dtype)
    return value, error / logits.shape[0]
