"""Architectures, one file each, by name, and any network with its weights as a file."""

from __future__ import annotations

from dlcore.models._catalogue import MODELS, build
from dlcore.models._files import load, save
from dlcore.models.alexnet import alexnet, alexnet_2012
from dlcore.models.autoencoder import autoencoder, conv_autoencoder
from dlcore.models.convnext import convnext_tiny
from dlcore.models.embedding_net import embedding_net
from dlcore.models.encoder import encoder
from dlcore.models.forecaster import forecaster
from dlcore.models.googlenet import googlenet, inception
from dlcore.models.gpt import gpt
from dlcore.models.lenet5 import lenet5
from dlcore.models.lenet5_1998 import lenet5_1998
from dlcore.models.linear import linear
from dlcore.models.mlp import mlp
from dlcore.models.recurrent_lm import gru_lm, lstm_lm, rnn_lm
from dlcore.models.resnet import resnet
from dlcore.models.resnet_cifar import resnet_cifar
from dlcore.models.seq2seq import encode, seq2seq, transformer
from dlcore.models.small_vgg import small_vgg
from dlcore.models.tagger import tagger
from dlcore.models.text_classifier import text_classifier
from dlcore.models.vae import conditional_vae, vae
from dlcore.models.vgg import vgg
from dlcore.models.vit import vit
from dlcore.models.word2vec import (
    cbow,
    hierarchical_softmax,
    negative_sampling,
    skip_gram,
    word2vec,
)
from dlcore.models.zero_shot import zero_shot
from dlcore.names import api

__all__ = [
    "MODELS",
    "alexnet",
    "alexnet_2012",
    "autoencoder",
    "build",
    "cbow",
    "conditional_vae",
    "conv_autoencoder",
    "convnext_tiny",
    "embedding_net",
    "encode",
    "encoder",
    "forecaster",
    "googlenet",
    "gpt",
    "gru_lm",
    "hierarchical_softmax",
    "inception",
    "lenet5",
    "lenet5_1998",
    "linear",
    "load",
    "lstm_lm",
    "mlp",
    "negative_sampling",
    "resnet",
    "resnet_cifar",
    "rnn_lm",
    "save",
    "seq2seq",
    "skip_gram",
    "small_vgg",
    "tagger",
    "text_classifier",
    "transformer",
    "vae",
    "vgg",
    "vit",
    "word2vec",
    "zero_shot",
]

__getattr__, __dir__ = api(__name__, __all__)
