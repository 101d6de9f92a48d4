"""Recurrent networks that tell what comes next: rnn_lm, lstm_lm, gru_lm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlcore import nn
from dlcore.models._model import model


@model
def rnn_lm(
    vocabulary: int = 65,
    features: int = 64,
    hidden: int = 256,
    *,
    layers: int = 1,
    dropout: float = 0.0,
) -> nn.Layer:
    """Logits [B, T, vocabulary] of the token after each, by `nn.rnn` with tanh; else as `lstm_lm`.

    103,041 parameters by default. Elman 1990; Mikolov et al. 2010.
    """
    return _language_model(nn.rnn, vocabulary, features, hidden, layers, dropout)


@model
def lstm_lm(
    vocabulary: int = 65,
    features: int = 64,
    hidden: int = 256,
    *,
    layers: int = 1,
    dropout: float = 0.0,
) -> nn.Layer:
    """Logits [B, T, vocabulary] of the token after each, for x [B, T] in 0 … vocabulary − 1.

    An embedding, `layers` of `nn.lstm`, and linear: 349,569 parameters by default. `dropout` drops
    what is embedded, what goes from layer to layer and what leaves the last one (Zaremba et al.
    2014). Reads `mask` [B, T]; what it remembers goes on from one window of a text to the next.

    Without dropout the first layer's input product is made once for each of the vocabulary, where
    that is smaller than the batch (`nn.Rows`).
    """
    return _language_model(nn.lstm, vocabulary, features, hidden, layers, dropout)


@model
def gru_lm(
    vocabulary: int = 65,
    features: int = 64,
    hidden: int = 256,
    *,
    layers: int = 1,
    dropout: float = 0.0,
) -> nn.Layer:
    """Logits [B, T, vocabulary] of the token after each, by `nn.gru`; else as `lstm_lm`.

    267,649 parameters by default. Cho et al. 2014.
    """
    return _language_model(nn.gru, vocabulary, features, hidden, layers, dropout)


def _language_model(
    recurrent: Callable[..., nn.Layer],
    vocabulary: int,
    features: int,
    hidden: int,
    layers: int,
    dropout: float,
) -> nn.Layer:
    inner = dropout if layers > 1 else 0.0
    dropped: list[Any] = [nn.dropout(dropout)] if dropout else []
    return nn.serial(
        nn.embedding(vocabulary, features, gathered=bool(dropped)),
        *dropped,
        nn.named("recurrent", recurrent(features, hidden, layers=layers, dropout=inner)),
        *dropped,
        nn.named("head", nn.linear(hidden, vocabulary)),
    )
