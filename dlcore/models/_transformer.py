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
    activation: Callable[[Any], Any] = F.gelu,
    dropout: float = 0.0,
    kernel_init: Initializer,
    output_init: Initializer | None = None,
    bias_init: Initializer,
) -> nn.Layer:
    """x + attention(norm(x)), then x + mlp(norm(x)), where mlp is 4 times as wide between.

    source: a second attention, between these two. dropout: of what is added. output_init: of mlp's
    second kernel.
    """
    dropped = [nn.dropout(dropout)] if dropout else []
    second = output_init or kernel_init
    attentions = {"attention": attention, "source": source}
    return nn.serial(
        *(
            nn.named(name, nn.residual(nn.serial(nn.layer_norm(features, eps=eps), one, *dropped)))
            for name, one in attentions.items()
            if one is not None
        ),
        nn.named(
            "mlp",
            nn.residual(
                nn.serial(
                    nn.layer_norm(features, eps=eps),
                    nn.linear(features, 4 * features, kernel_init=kernel_init, bias_init=bias_init),
                    activation,
                    nn.linear(4 * features, features, kernel_init=second, bias_init=bias_init),
                    *dropped,
                )
            ),
        ),
    )
