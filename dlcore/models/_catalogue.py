"""The models by name: `build` makes one of its name and arguments."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from dlcore.models.alexnet import alexnet, alexnet_2012
from dlcore.models.autoencoder import autoencoder, conv_autoencoder
from dlcore.models.convnext import convnext_tiny
from dlcore.models.embedding_net import embedding_net
from dlcore.models.encoder import encoder
from dlcore.models.forecaster import forecaster
from dlcore.models.googlenet import googlenet
from dlcore.models.gpt import gpt
from dlcore.models.lenet5 import lenet5
from dlcore.models.lenet5_1998 import lenet5_1998
from dlcore.models.linear import linear
from dlcore.models.mlp import mlp
from dlcore.models.recurrent_lm import gru_lm, lstm_lm, rnn_lm
from dlcore.models.resnet import resnet
from dlcore.models.resnet_cifar import resnet_cifar
from dlcore.models.seq2seq import seq2seq, transformer
from dlcore.models.small_vgg import small_vgg
from dlcore.models.tagger import tagger
from dlcore.models.text_classifier import text_classifier
from dlcore.models.vae import conditional_vae, vae
from dlcore.models.vgg import vgg
from dlcore.models.vit import vit
from dlcore.models.zero_shot import zero_shot
from dlcore.nn import Layer

MODELS: dict[str, Callable[..., Layer]] = {
    factory.__name__: factory
    for factory in (
        linear,
        mlp,
        lenet5,
        lenet5_1998,
        alexnet,
        alexnet_2012,
        vgg,
        small_vgg,
        googlenet,
        resnet,
        resnet_cifar,
        convnext_tiny,
        vit,
        rnn_lm,
        lstm_lm,
        gru_lm,
        gpt,
        encoder,
        text_classifier,
        seq2seq,
        transformer,
        embedding_net,
        zero_shot,
        tagger,
        forecaster,
        autoencoder,
        conv_autoencoder,
        vae,
        conditional_vae,
    )
}


def build(name: str, **arguments: Any) -> Layer:
    """The model called `name`, with arguments as a file holds them: `build("mlp", hidden=[64])`.

    Raises ValueError for a name that no model has, with the nearest; and what the model raises.
    """
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.0)
        raise ValueError(
            f"no model is called {name!r}, the nearest is {nearest[0]!r}; "
            f"there are {', '.join(MODELS)}"
        )
    return MODELS[name](**arguments)
