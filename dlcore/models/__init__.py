"""Architectures, one file each, by name, and any network with its weights as a file."""

from __future__ import annotations

from dlcore.models._catalogue import MODELS, build
from dlcore.models._files import load, save
from dlcore.models.alexnet import alexnet, alexnet_2012
from dlcore.models.convnext import convnext_tiny
from dlcore.models.forecaster import forecaster
from dlcore.models.googlenet import googlenet, inception
from dlcore.models.lenet5 import lenet5
from dlcore.models.lenet5_1998 import lenet5_1998
from dlcore.models.linear import linear
from dlcore.models.mlp import mlp
from dlcore.models.resnet import resnet
from dlcore.models.resnet_cifar import resnet_cifar
from dlcore.models.small_vgg import small_vgg
from dlcore.models.vgg import vgg
from dlcore.models.vit import vit
from dlcore.names import api

__all__ = [
    "MODELS",
    "alexnet",
    "alexnet_2012",
    "build",
    "convnext_tiny",
    "forecaster",
    "googlenet",
    "inception",
    "lenet5",
    "lenet5_1998",
    "linear",
    "load",
    "mlp",
    "resnet",
    "resnet_cifar",
    "save",
    "small_vgg",
    "vgg",
    "vit",
]

__getattr__, __dir__ = api(__name__, __all__)
