"""A recurrent network that forecasts a time series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import nn
from dlcore.models._model import model
from dlcore.nn.init import zeros

KINDS: dict[str, Callable[..., nn.Layer]] = {"rnn": nn.rnn, "lstm": nn.lstm, "gru": nn.gru}


@model
def forecaster(
    inputs: int = 1, horizon: int = 12, hidden: int = 32, *, kind: str = "lstm", period: int = 1
) -> nn.Layer:
    """The next values of a series, [B, horizon], from windows of it, x [B, W, inputs].

    yₖ = x_{W − p + (k mod p), 0} + (h_W · kernel + bias)ₖ, k = 0 … horizon − 1, p = period: what is
    learned is the difference to the seasonal naive forecast of x's first column, with which it
    begins, since kernel begins at 0; period=1 is the naive one, the last value. h are the outputs
    of `kind`, "rnn", "lstm" or "gru". W is `period` at least. 4,748 parameters by default.

    Raises ValueError for another kind, and sizes below 1.
    """
    if kind not in KINDS:
        raise ValueError(f"forecaster: kind is {kind!r}, but one of {', '.join(KINDS)} is wanted")
    if not (isinstance(period, int) and period >= 1):
        raise ValueError(f"forecaster: period={period!r}, but steps of 1 or more are wanted")

    def forward(parts: Any, x: jax.Array, *, key: Any, train: bool) -> jax.Array:
        h = parts.recurrent(x)
        return naive(x, horizon, period) + parts.difference(h[:, -1])

    return nn.wire(
        forward,
        recurrent=KINDS[kind](inputs, hidden),
        difference=nn.linear(hidden, horizon, kernel_init=zeros),
    )


def naive(x: jax.Array, horizon: int, period: int) -> jax.Array:
    """The first column of the last season of x [B, W, …], over and over: [B, horizon]."""
    if x.shape[1] < period:
        raise ValueError(
            f"forecaster: the window has {x.shape[1]} steps, but a season of period={period} is "
            "wanted: give a longer window or another period"
        )
    return x[:, -period:, 0][:, jnp.arange(horizon) % period]
