"""What a package says of names that it does not have, and of those that it has."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import dlcore

PACKAGES = [
    name
    for _, name, is_package in pkgutil.walk_packages(dlcore.__path__, "dlcore.")
    if is_package and name != "dlcore.kernels"
]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_shows_its_api_alone(name):
    package = importlib.import_module(name)
    assert dir(package) == sorted(package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)
    for one in package.__all__:
        assert getattr(package, one) is not None
    with pytest.raises(AttributeError, match=r"has no attribute 'zzz'$"):
        _ = package.zzz


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("nn.Linear", "linear"),
        ("nn.Dense", "linear"),
        ("nn.conv2d", "conv"),
        ("nn.BatchNorm2d", "batch_norm"),
        ("nn.MaxPool2d", "max_pool"),
        ("nn.Sequential", "serial"),
        ("nn.relu", "functional.relu"),
        ("nn.ReLU", "functional.relu"),
        ("nn.CrossEntropyLoss", "functional.cross_entropy"),
        ("optim.Adam", "adam"),
        ("optim.SGD", "sgd"),
        ("optim.AdamW", "adamw"),
        ("functional.nll_loss", "functional.negative_log_likelihood"),
        ("functional.CrossEntropy", "cross_entropy"),
        ("models.ResNet", "resnet"),
        ("train.trainstate", "train_state"),
        ("data.image_folders", "image_folder"),
    ],
)
def test_a_name_of_another_library_is_answered_with_the_name_here(written, meant):
    package, name = written.split(".")
    with pytest.raises(AttributeError, match=f"did you mean {meant}[?,]"):
        getattr(getattr(dlcore, package), name)
    assert not hasattr(getattr(dlcore, package), name)
