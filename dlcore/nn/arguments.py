"""What a layer's factory answers to the arguments that it has in other libraries."""

from __future__ import annotations

from collections.abc import Callable

from dlcore.names import Function, arguments

_ELSEWHERE = {
    "name": "nn.named({value}, {call})",
    "activation": "nn.serial({call}, functional.{bare})",
    "affine": ".scale.offset",
    "elementwise_affine": ".scale.offset",
}


def factory(**elsewhere: str) -> Callable[[Function], Function]:
    """The decorator `names.arguments` of a function that makes a layer."""
    return arguments("layer.apply(params, state, x)", _ELSEWHERE, **elsewhere)
