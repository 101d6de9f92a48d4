"""The block that transformers are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlcore import functional as F
from dlcore import nn
from dlcore.nn.init import Initializer


def block(
    features: int,
    attention: nn.Layer,
    *,
    source: nn.Layer | None = None,
    eps: float,
    norm_first: bool = True,
    activation: Callable[[Any], Any] = F.gelu,
    dropout: float = 0.0,
    kernel_init: Initializer,
    output_init: Initializer | None = None,
    bias_init: Initializer,
) -> nn.Layer:
    """x + attention(norm(x)), then x + mlp(norm(x)), where mlp is 4 times as wide between.

    source: a second attention, between these two. norm_first: else norm(x + attention(x)), then
    norm(x + mlp(x)). dropout: of what is added. output_init: of mlp's second kernel.
    """
    dropped = [nn.dropout(dropout)] if dropout else []
    second = output_init or kernel_init
    mlp = (
        nn.linear(features, 4 * features, kernel_init=kernel_init, bias_init=bias_init),
        activation,
        nn.linear(4 * features, features, kernel_init=second, bias_init=bias_init),
    )
    parts: dict[str, tuple[Any, ...]] = {"attention": (attention,), "source": (source,), "mlp": mlp}

    def added(layers: tuple[Any, ...]) -> nn.Layer:
        norm = nn.layer_norm(features, eps=eps)
        if norm_first:
            return nn.residual(nn.serial(norm, *layers, *dropped))
        return nn.serial(nn.residual(nn.serial(*layers, *dropped)), norm)

    return nn.serial(
        *(nn.named(name, added(layers)) for name, layers in parts.items() if layers != (None,))
    )
