"""How programs are cut into loops and calls: rules with their measurements beside them.

A rule looks at the kind of device and at the network, never at a clock: the same run makes the same
choice every time. No choice changes results beyond rounding.
"""

from __future__ import annotations

from typing import Any

import jax

from dlcore import flops

# On two CPU cores (jax 0.10), steps a second in a Python loop against steps in one compiled loop:
# playground 2-8-8-1 (20 kFLOP a step) 22,953 against 144,880; mlp 784-512-512-10 (0.5 GFLOP) 279
# against 255; LeNet-5 (convolutions) 45 ms a step against 139. The limit between is a guess.
LOOP_FLOPS = 20_000_000


def many_steps_in_one_call(step: Any, *arguments: Any) -> bool:
    """Whether steps run in one compiled loop, rather than one call each.

    On an accelerator always: a call costs more than a loop's turn. On the CPU for small networks
    without convolutions, which XLA computes several times slower inside a loop.
    """
    if jax.default_backend() != "cpu":
        return True
    jaxpr = jax.jit(step).trace(*arguments).jaxpr
    return not flops.has_convolution(jaxpr) and flops.count_jaxpr(jaxpr) <= LOOP_FLOPS


def repeats_by_calls() -> bool:
    """Whether blocks that are compiled once are called one after another, rather than looped over.

    On the CPU. A step of ResNet-152 at 64×64, batch 4 (two cores, jax 0.12): 7.7 s to compile,
    0.53 s to run and 188 MB of temporaries by calls; as a loop 10.7 s, since each slice of the
    stack is compiled for itself, 0.7 s and 500 MB; unrolled 15.6 s, 0.78 s and 331 MB.
    """
    return jax.default_backend() == "cpu"
