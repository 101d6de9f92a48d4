"""The smoke form of every experiment: that it measures, draws and prints, on data drawn here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dlcore import data, plot
from dlcore.data import Dataset
from experiments import catalogue
from experiments.descent import rare_features
from experiments.generalisation import augmentation_text
from experiments.vision import transfer
from tests.pictures import faults

# One a chapter for `make test`; the rest is slow. `predict` answers a question about files that one
# has, and claims nothing.
QUICK = {"averages", "augmentation_text", "classify", "lenet", "profile"}
TOOLS = {"predict"}

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "fsdd": (32, 32, 1)}
CLASSES = {"cifar10": tuple(sorted((*transfer.SOURCE, *transfer.TARGET)))}
load = data.load


def names(chapter):
    """The experiments of a chapter, as parameters of a test."""
    return [
        pytest.param(entry.name, marks=() if entry.name in QUICK else pytest.mark.slow)
        for entry in catalogue.entries()
        if entry.chapter == chapter and entry.name not in TOOLS
    ]


def run(name, out):
    """The result of the smoke form, which may write into the folder `out`."""
    experiment = catalogue.find(name).load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", drawn)
        patch.setattr(rare_features, "sentences", opinions)
        patch.setattr(augmentation_text, "polarity", sentences)
        return experiment.run(dataclasses.replace(experiment.Config.smoke(), out=out))


def assert_sound(name, result, out):
    """It claims what can be measured, draws pictures whose text can be read, and prints a table."""
    from rich.console import Console

    assert result.claims or name == "classify"  # whose claims are of full runs
    assert all(np.isfinite(one.measured) for one in result.claims if "spread" not in one.what)
    figures = catalogue.find(name).load().plot(result)
    for stem, figure in (figures if isinstance(figures, dict) else {name: figures}).items():
        path = out / f"{stem}{plot.suffix(figure)}"
        plot.save(figure, path)
        assert path.stat().st_size < 2_000_000
        assert faults(getattr(figure, "_fig", figure)) == []  # an animation's figure
    console = Console(width=120)
    with console.capture() as printed:
        console.print(result)
    assert len(printed.get().splitlines()) > 3


def drawn(name, root=None, **options):
    """Ten patterns under noise in the place of a data set; what comes along as it is."""
    if name not in SHAPES:
        return load(name, root, **options)
    shape = SHAPES[name]
    patterns = np.random.default_rng(0).random((10, *shape), np.float32)

    def part(count, seed):
        y = (np.arange(count) % 10).astype(np.int32)
        noise = np.random.default_rng(seed).random((count, *shape), np.float32)
        return {"x": 0.7 * patterns[y] + 0.3 * noise, "y": y}

    classes = CLASSES.get(name, tuple("0123456789"))
    return Dataset(name, part(600, 1), part(100, 2), part(120, 3), classes, "drawn")


def opinions(root=None):
    """Sentences of an opinion or of a plot, with words that nobody else has."""
    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 2).astype(np.int32)
    kinds = (["he", "dies"], ["i", "laughed"])
    rare = [chr(97 + k // 26) + chr(97 + k % 26) * 3 for k in range(300)]
    words = [[*kinds[y], *rng.choice(rare[y::2], 3)] for y in labels]
    return [" ".join(one) for one in words], labels


def sentences(root=None):
    """Words in the place of the film reviews."""
    words = np.array([f"word{i}" for i in range(30)])
    rng = np.random.default_rng(0)
    return [list(rng.choice(words, 8)) for _ in range(60)], np.arange(60, dtype=np.int32) % 2
