"""How programs are compiled and cut into loops and calls: rules with measurements beside them.

A rule looks at the kind of device and at the network, never at a clock: the same run makes the same
choice every time. No choice changes results beyond rounding.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.stages import Lowered

from dlcore import flops
from dlcore import functional as F
from dlcore.kernels import onednn

# XLA's option to compute on the CPU by the kernels of oneDNN.
ONEDNN = "xla_cpu_experimental_onednn_custom_call"

# Floating-point operations of a call on the CPU, at most: Ctrl-C waits for a call to end, and two
# cores do so many in 2 to 5 s.
CALL_FLOPS = 5e11


def steps_in_one_call(step: Any, *arguments: Any) -> int:
    """How many steps run in one compiled loop, at most; 1 where each is a call of its own.

    On an accelerator any number: a call costs more than a loop's turn. On the CPU a loop saves the
    call too, and keeps the memory of a step, which the system would take back and clear page by
    page for the next one. Steps a second in `fit`, calls and loop (two cores, jax 0.12; 0.10): mlp
    784-512-512-10 266 and 344; 222 and 306; LeNet-5 114 and 121; 88 and 97; ResNet-20 2.5 and 3.0;
    1.7 and 2.0, batch 128. But JAX's own convolution, here that with groups, is many times slower
    in a loop (jax issue 12868).
    """
    if jax.default_backend() != "cpu":
        return sys.maxsize
    jaxpr = traced_once(step).trace(*arguments).jaxpr
    if flops.has_primitive(jaxpr, "conv_general_dilated"):
        return 1
    return max(1, int(CALL_FLOPS / flops.count_jaxpr(jaxpr)))


@functools.lru_cache(maxsize=16)
def traced_once(function: Callable[..., Any]) -> Any:
    """jax.jit(function), the same one for the same function, which JAX then traces once."""
    return jax.jit(function)


def repeats_by_calls() -> bool:
    """Whether blocks that are alike run as calls of one compiled function, or each for itself.

    On the CPU as calls. A training step of ResNet-152 at 64×64, batch 4 (two cores, jax 0.12):
    8.3 s to compile, 0.51 s to run and 144 MB of temporaries; each block for itself 16.3 s, 0.65 s
    and 331 MB.
    """
    return jax.default_backend() == "cpu"


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """jax.jit, for a network as a whole: on the CPU its convolutions are oneDNN's, if XLA has them.

    Steps a second of the compiled loop without and with them, batch 128 (two cores, jax 0.12, which
    has them; 0.10 does not): LeNet-5 134 and 152, ResNet-20 3.2 and 4.1. The environment variable
    XLA_FLAGS=--xla_cpu_experimental_onednn_custom_call=false keeps XLA from it; so does a cache of
    compiled programs (jax_compilation_cache_dir), into which XLA 0.12 fails to write such ones. As
    for every jit with compiler options, JAX refuses a call from inside of another jit.
    """

    @functools.cache
    def program() -> Any:
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with onednn.calls(has_onednn):
            return program()(*args, **kwargs)

    return call


def jit_each(
    name: str, *, by: Callable[..., Any] = jit, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: a program for each value of the keyword argument `name` (a step, a layer).

    As a static argument JAX would keep all of them as long as the process lives, with what they
    close over: a step of a small network some 1 MB. Here the last 32 that were used are kept.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.lru_cache(maxsize=32)
        def program(value: Any) -> Callable[..., Any]:
            return by(functools.partial(function, **{name: value}), **options)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return program(kwargs.pop(name))(*args, **kwargs)

        return call

    return decorate


def lower(function: Callable[..., Any], *arguments: Any) -> Lowered:
    """jax.jit(function).lower(*arguments), of the program that `jit` runs."""
    with onednn.calls(has_onednn):
        return jax.jit(function, compiler_options=compiler_options()).lower(*arguments)


@functools.cache
def compiler_options() -> dict[str, bool]:
    """What XLA is to be told that the environment does not tell it, if it knows the option."""
    told = os.environ.get("XLA_FLAGS", "")
    if jax.default_backend() != "cpu" or ONEDNN in told or _is_cached():
        return {}
    options = {ONEDNN: True}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


@functools.cache
def has_onednn() -> bool:
    """Whether XLA, told so, computes a convolution by oneDNN: tried on a small one."""
    if jax.default_backend() != "cpu":
        return False
    x, kernel = (jax.ShapeDtypeStruct(one, jnp.float32) for one in ((1, 4, 4, 1), (2, 2, 1, 1)))
    with onednn.calls(lambda: False):
        tried = jax.jit(F.conv, compiler_options=compiler_options()).lower(x, kernel)
    return "__onednn$convolution" in (tried.compile().as_text() or "")


def _is_cached() -> bool:
    """Whether JAX keeps compiled programs on disk, where XLA cannot write those with oneDNN."""
    return bool(jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir)
