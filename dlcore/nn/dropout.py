"""The dropout layer."""

from __future__ import annotations

from typing import Any

from dlcore import functional as F
from dlcore import keys
from dlcore.functional.dropout import check_rate
from dlcore.keys import Key
from dlcore.nn.layer import Layer, Params, State, make


def dropout(rate: float) -> Layer:
    """In training y = x·m / (1 − rate), m = 0 with probability `rate`, else 1; in evaluation y = x.

    `rate` is the probability of dropping, in [0, 1); see `functional.dropout`. In training a key
    is needed, except with a rate of 0.
    """
    check_rate("dropout", rate)

    def init(key: Key) -> tuple[Params, State]:
        return (), ()

    def apply(
        params: Params, state: State, x: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, State]:
        if not train or rate == 0:
            return x, state
        if key is None:
            raise ValueError(
                f"dropout({rate}) needs a key in training: "
                "apply(params, state, x, key=jax.random.key(0), train=True)"
            )
        return F.dropout(keys.check(key), x, rate), state

    return make("dropout", init, apply, rate=rate)
