"""The arithmetic of one call, counted from its jaxpr: nothing is run, compiled or allocated.

A multiply-add is two operations, as in XLA's cost analysis; the papers that count multiply-adds
print half of it. The count is of the program as traced, before XLA fuses or simplifies it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

# Primitives that place, choose or convert numbers without arithmetic on them.
_MOVEMENT = {
    "bitcast_convert_type", "broadcast_in_dim", "concatenate", "convert_element_type", "copy",
    "copy_p", "device_put", "dynamic_slice", "dynamic_update_slice", "expand_dims", "gather",
    "get", "imag", "iota", "name", "optimization_barrier", "pad", "real", "reduce_precision",
    "reshape", "rev", "scatter", "select_n", "sharding_constraint", "slice", "sort", "split",
    "squeeze", "stop_gradient", "swap", "top_k", "transpose",
}  # fmt: skip

# JAX's own, and the one of dlcore.kernels.convolve, which has the same parameters.
CONVOLUTIONS = ("conv_general_dilated", "convolve")

# Primitives that hold the scalar operation they fold with as a program of their own.
_FOLDS = ("reduce", "scatter", "select_and_scatter")


def count(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of `function(*args)`.

    Arguments are trees of arrays or of `jax.ShapeDtypeStruct`.

    - matrix product and convolution: 2 · (multiply-adds). Taps on padding count, as the papers
      count them (XLA leaves them out); taps on zeros that a dilated input inserts do not
    - reduction of n numbers: n − 1; of a window of n: n − 1 for each output
    - anything else with a floating-point result: 1 for each element of it, exp and tanh included
    - moving, choosing, converting and comparing numbers, integers, random bits: 0
    - scan: length · body; cond: its dearest branch; while: its body once, since how often it runs
      is not known before; inner calls (jit, custom derivatives, checkpoint): what they contain
    """
    return count_jaxpr(jax.make_jaxpr(function)(*args))


def count_jaxpr(closed_jaxpr: ClosedJaxpr | Jaxpr) -> int:
    """Floating-point operations of a traced program (`jax.make_jaxpr`), by the rules of `count`."""
    return sum(map(_count_equation, closed_jaxpr.eqns))


def has_primitive(closed_jaxpr: ClosedJaxpr | Jaxpr, *names: str) -> bool:
    """Whether a traced program has one of these primitives, inner calls and loops included."""
    return any(
        equation.primitive.name in names
        or any(has_primitive(inner, *names) for inner in _inner(equation))
        for equation in closed_jaxpr.eqns
    )


def _count_equation(equation: JaxprEqn) -> int:
    name = equation.primitive.name
    if name in _MOVEMENT:
        return 0
    if name.startswith(_FOLDS):
        return _arithmetic(equation)
    if name == "scan":
        return equation.params["length"] * count_jaxpr(equation.params["jaxpr"])
    inner = list(map(count_jaxpr, _inner(equation)))
    if name == "cond":
        return max(inner)
    return sum(inner) if inner else _arithmetic(equation)


def _arithmetic(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    operands: list[Any] = [variable.aval for variable in equation.invars]
    results: list[Any] = [variable.aval for variable in equation.outvars if _is_float(variable)]
    if not results:
        return 0
    if name == "dot_general":
        return 2 * results[0].size * _contracted(operands[0].shape, params)
    if name in CONVOLUTIONS:
        return 2 * _multiply_adds(operands[1].shape, results[0].shape, params)
    if name.startswith("reduce_window"):
        return results[0].size * (math.prod(params["window_dimensions"]) - 1)
    if name.startswith("reduce"):
        return operands[0].size - results[0].size
    if name.startswith("select_and_scatter"):  # max pooling's gradient: find it again, then add
        return operands[0].size * math.prod(params["window_dimensions"])
    if name.startswith("scatter"):
        return operands[2].size
    return sum(result.size for result in results)


def _inner(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """The programs inside an equation: of a call, of a loop, of the branches of a condition."""
    for value in jax.tree.leaves(equation.params, is_leaf=_is_program):
        if _is_program(value):
            yield value


def _is_program(value: Any) -> bool:
    return isinstance(value, ClosedJaxpr | Jaxpr)


def _is_float(variable: Any) -> bool:
    dtype = getattr(variable.aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact)


def _contracted(shape: tuple[int, ...], params: dict[str, Any]) -> int:
    (axes, _), _ = params["dimension_numbers"]
    return math.prod(shape[axis] for axis in axes)


def _multiply_adds(kernel: tuple[int, ...], out: tuple[int, ...], params: dict[str, Any]) -> int:
    """Batch · channels out · channels in (of one group) · taps along each spatial axis."""
    numbers = params["dimension_numbers"]
    batch, features, *spatial = (out[axis] for axis in numbers.out_spec)
    _, inputs, *window = (kernel[axis] for axis in numbers.rhs_spec)
    taps = map(
        _taps,
        spatial,
        window,
        params["window_strides"],
        params["rhs_dilation"],
        params["lhs_dilation"],
        params["padding"],
    )
    return batch * features * inputs * math.prod(taps)


def _taps(
    outputs: int, window: int, stride: int, spread: int, inserted: int, padding: tuple[int, int]
) -> int:
    """Pairs (output, tap) on one axis that do not meet a zero inserted between two inputs."""
    positions = np.arange(outputs)[:, None] * stride + np.arange(window) * spread - padding[0]
    return int(np.count_nonzero(positions % inserted == 0))
