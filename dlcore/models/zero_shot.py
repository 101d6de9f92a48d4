"""From features to the place of their class among words, or attributes."""

from __future__ import annotations

from dlcore import functional as F
from dlcore import nn
from dlcore.models._model import model


@model
def zero_shot(inputs: int, signature: int, *, hidden: int = 100) -> nn.Layer:
    """Features [B, inputs] to the space of the class signatures [B, signature]: θ₂·tanh(θ₁·x).

    | layer                      | outputs   |
    |----------------------------|-----------|
    | linear, tanh               | hidden    |
    | linear                     | signature |

    Socher et al. 2013, equation 1, with biases. It learns where the seen classes lie, and classes
    without an example are named by the nearest signature, or attributes:

        batch = {"x": features, "y": signatures[labels]}
        objective = train.regression(models.zero_shot(512, 100))
        ...
        logits = functional.nearness(train.predict(layer, params, state, x), signatures)
    """
    return nn.serial(nn.linear(inputs, hidden), F.tanh, nn.linear(hidden, signature))
