"""What an optimizer answers to the arguments that it has in other libraries."""

from __future__ import annotations

from collections.abc import Callable

from dlcore.names import Function, arguments

_ELSEWHERE = {
    "betas": ".b1.b2",
    "weight_decay": "optax.chain(optim.add_penalty(optim.l2({value} / 2)), {call})",
    "clipnorm": "optax.chain(optim.clip_by_global_norm({value}), {call})",
    "clipvalue": "optax.chain(optim.clip({value}), {call})",
    "maximize": "optax.chain(optax.scale(-1.0), {call})",
    "ema_momentum": "optax.chain({call}, optim.ema_of_weights({value}))",
}


def optimizer(**elsewhere: str) -> Callable[[Function], Function]:
    """The decorator `names.arguments` of a function that makes an optimizer."""
    return arguments("optimizer.init(params)", _ELSEWHERE, **elsewhere)
