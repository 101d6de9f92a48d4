"""What all parts check alike: dtypes, shapes and the range of values.

Shapes and dtypes are always known and always checked. Values are known only where they are
concrete: there a bad one is refused by name. Under jit, grad or vmap they are traced and cannot
raise, so whoever asks for a mask turns the bad ones into NaN, which stops a training run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def is_concrete(x: Any) -> bool:
    """Whether the values of `x` can be looked at."""
    return not isinstance(x, jax.core.Tracer)


def values_of(x: Any) -> Any:
    """What is concrete as a NumPy array, to be looked at even inside jit; else the tracer."""
    return np.asarray(x) if is_concrete(x) else x


def floating(function: str, name: str, x: ArrayLike) -> jax.Array:
    """`x` as an array of floating point, the only kind a gradient can flow through."""
    array = jnp.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{function}: {name} is {array.dtype}, but floating point is wanted: "
            f"{name}.astype(jnp.float32)"
        )
    return array


def places(function: str, name: str, x: ArrayLike) -> jax.Array:
    """`x`, where in a sequence something stands, as int32: unsigned ones would wrap at 0."""
    array = jnp.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{function}: {name} are {array.dtype}, but places are integers: 0, 1, …")
    return array.astype(jnp.int32)


def wide_dtype(dtype: Any) -> Any:
    """float32 for everything narrower (bfloat16, integers), else the dtype itself."""
    is_wide = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 32
    return dtype if is_wide else jnp.float32


def same_shape(function: str, **arrays: Any) -> None:
    """Refuses two arrays of different shapes, which would broadcast silently."""
    (first, x), (second, y) = ((name, np.shape(array)) for name, array in arrays.items())
    if x != y:
        fix = (
            f"{second}.reshape({first}.shape)"
            if math.prod(x) == math.prod(y)
            else f"pass one of the {second} for each of the {first}"
        )
        raise ValueError(f"{function}: {first} {x} and {second} {y} differ in shape: {fix}")


def valid(
    function: str, name: str, values: Any, rule: Callable[[Any], Any], wanted: str
) -> np.ndarray | jax.Array:
    """The mask `rule(values)`; where `values` are concrete, the first that breaks it is refused."""
    values = values_of(values)
    mask = rule(values)
    if is_concrete(mask) and not mask.all():
        index = tuple(np.argwhere(~mask)[0].tolist())
        place = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(f"{function}: {name}{place} is {values[index]}, but {wanted}")
    return mask


def unit_interval(function: str, name: str, values: Any) -> jax.Array:
    """`values` in at least float32; those outside [0, 1] are refused, under tracing NaN."""
    values = values_of(values)
    slack = rounding(values.dtype)
    values = values.astype(wide_dtype(values.dtype))
    in_range = valid(
        function, name, values, lambda p: (p >= -slack) & (p <= 1 + slack), "must lie in [0, 1]"
    )
    return jnp.where(in_range, values, jnp.nan)


def rounding(dtype: Any) -> float:
    """How far a probability computed in `dtype` may be off: half of its digits, or of float32's."""
    is_narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return math.sqrt(jnp.finfo(dtype if is_narrow else jnp.float32).eps)


def one_of(function: str, name: str, value: Any, choices: Mapping[Any, Any]) -> Any:
    """`choices[value]`, by one of its names; `value` may be anything, and unhashable."""
    if value not in [*choices]:
        raise ValueError(f"{function}: {name} is {value!r}, but must be one of {[*choices]}")
    return choices[value]


def log_base(function: str, base: float) -> float:
    """ln(base): what natural logarithms are divided by."""
    if not base > 1:
        raise ValueError(f"{function}: base is {base}, but must exceed 1: base=math.e or base=2")
    return math.log(base)


def one_hot(function: str, name: str, labels: Any, classes: int) -> jax.Array:
    """Class indices `labels` [...] as rows [..., classes] of one 1 and zeros, in float32.

    A label outside 0 … classes − 1 is refused; under tracing its row is NaN.
    """
    labels = values_of(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"{function}: {name} are {labels.dtype}, but class indices are integers: "
            f"{name}.astype(jnp.int32)"
        )
    last = min(classes - 1, jnp.iinfo(labels.dtype).max)
    in_range = valid(
        function,
        name,
        labels,
        lambda label: (label >= 0) & (label <= last),
        f"must be one of the {classes} classes, 0 … {classes - 1}",
    )
    rows = labels.astype(jnp.int32)[..., None] == jnp.arange(classes, dtype=jnp.int32)
    return jnp.where(in_range[..., None], rows.astype(jnp.float32), jnp.nan)


def class_rows(function: str, outputs: jax.Array, labels: Any, also: str = "") -> jax.Array:
    """The labels [...] of outputs [..., C] as `one_hot` rows; another shape is refused."""
    if outputs.ndim == 0:
        raise ValueError(
            f"{function}: outputs are one number, but need an axis of classes [..., C]"
        )
    shape, wanted = jnp.shape(labels), outputs.shape[:-1]
    if shape != wanted:
        fix = f": labels.reshape({wanted})" if math.prod(shape) == math.prod(wanted) else ""
        raise ValueError(
            f"{function}: labels {shape} do not fit outputs {outputs.shape}; "
            f"wanted are class indices {wanted}{also}{fix}"
        )
    return one_hot(function, "labels", labels, outputs.shape[-1])
