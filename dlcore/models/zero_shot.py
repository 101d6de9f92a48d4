"""From features to the place of their class among words, or attributes."""

from __future__ import annotations

from dlcore import functional as F
from dlcore import nn
from dlcore.models._model import model


@model
def zero_shot(inputs: int = 512, signature: int = 100, *, hidden: int = 100) -> nn.Layer:
    """Features [B, inputs] to the space of the class signatures [B, signature]: θ₂·tanh(θ₁·x).

    | layer             | outputs | parameters |
    |-------------------|---------|------------|
    | linear 100, tanh  | 100     |     51,300 |
    | linear 100        | 100     |     10,100 |

    61,400 parameters. Socher et al. 2013, equation 1, with biases. It learns where the seen classes
    lie; classes without an example are then known by the nearest signature (vectors of words, or
    attributes):

        batch = {"x": features, "y": signatures[labels]}
        objective = train.regression(models.zero_shot(512, 100))
        ...
        logits = functional.nearness(train.predict(layer, params, state, x), signatures)
    """
    return nn.serial(nn.linear(inputs, hidden), F.tanh, nn.linear(hidden, signature))
