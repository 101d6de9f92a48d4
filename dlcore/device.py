"""How programs are cut into loops and calls: rules with their measurements beside them.

A rule looks at the kind of device and at the network, never at a clock: the same run makes the same
choice every time. No choice changes results beyond rounding.
"""

from __future__ import annotations

import sys
from typing import Any

import jax

from dlcore import flops

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
    jaxpr = jax.jit(step).trace(*arguments).jaxpr
    if flops.has_primitive(jaxpr, "conv_general_dilated"):
        return 1
    return max(1, int(CALL_FLOPS / flops.count_jaxpr(jaxpr)))


def repeats_by_calls() -> bool:
    """Whether blocks that are alike run as calls of one compiled function, or each for itself.

    On the CPU as calls. A training step of ResNet-152 at 64×64, batch 4 (two cores, jax 0.12):
    8.3 s to compile, 0.51 s to run and 144 MB of temporaries; each block for itself 16.3 s, 0.65 s
    and 331 MB.
    """
    return jax.default_backend() == "cpu"
