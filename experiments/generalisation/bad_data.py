"""Bad data is found by looking at it: NaN, duplicates, and labels the other examples contradict.

Digits of MNIST with faults planted among them: rows of NaN, exact copies, and one label in ten made
another. What is not finite and what repeats is found by comparison. The labels are suspected by
cross-validation: the greater the loss of an example under the networks that have not seen it, the
more suspect; as many are removed as were planted.

Lecture C: removing bad data; out-of-sample predictions against labels as in Northcutt et al. 2021
("Confident learning"), who estimate how many to remove instead of knowing it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from dlcore import data, models, optim, search, train
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least, at_most
from experiments.frame import Claim, DataConfig, Figure, Result, Table

CLAIMS = (
    Claim("rows of NaN found and nothing else", "≥ 1", "lecture C"),
    Claim("copies found and nothing else", "≥ 1", "lecture C"),
    Claim("wrong labels among the suspects", "> 0.5", "Northcutt et al. 2021"),
    Claim("test accuracy: without the suspects − with them", "> 0", "lecture C"),
)
FEW = 20  # rows of NaN, and copies


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """How much is looked at."""

    images: int = 3_000
    """Digits of MNIST to learn, in which the faults are planted."""
    test_images: int = 5_000
    """Digits to test on."""
    share: float = 0.1
    """Of the labels, made wrong."""
    folds: int = 5
    """Of the cross-validation that suspects labels."""
    epochs: int = 10
    """Of every network, in batches of 50."""
    seeds: int = 3
    """Networks trained with the suspects and without; figures are means."""

    def __post_init__(self) -> None:
        at_least(100, images=self.images)
        at_least(10, test_images=self.test_images)
        at_least(2, folds=self.folds)
        at_most(self.images, folds=self.folds)
        at_least(1, epochs=self.epochs, seeds=self.seeds)
        if not 0 < self.share < 1:
            raise ValueError(f"share must be in (0, 1), got {self.share}")


SMOKE = Config(images=100, test_images=20, folds=2, epochs=1, seeds=1)


class Measured(NamedTuple):
    """Whether each kind was found; of the labels, how many for every number of suspects.

    found: [N], the share of the planted ones among the first 1 … N suspects. worst: the images of
    the first suspects, with captions of what their label was made and is. accuracies: of each seed,
    with the suspects and without.
    """

    nan_found: bool
    copies_found: bool
    planted: int
    found: np.ndarray
    worst: np.ndarray
    captions: list[str]
    accuracies: list[tuple[float, float]]

    @property
    def precision(self) -> float:
        """Of as many suspects as were planted, which is also the share of the planted found."""
        return float(self.found[self.planted - 1])


def run(config: Config) -> Measured:
    """Plants, finds, removes, and trains with and without."""
    digits = data.load("mnist", config.root)
    clean, test = first(digits.train, config.images), first(digits.test, config.test_images)
    nan_found, copies_found = found_by_comparison(clean)
    wrong, noisy = mislabelled(clean, config.share)
    layer = models.mlp(clean["x"].shape[1:], (64,), 10, dropout=0.0)
    parts = layer, train.classification(layer), optim.adam(1e-3)
    (crossed,) = search.cross_validate(
        lambda h: parts, [{}], noisy, epochs=config.epochs, folds=config.folds, batch_size=50
    )
    suspects = crossed.suspects
    kept = np.sort(suspects[len(wrong) :])
    sets = noisy, {name: leaf[kept] for name, leaf in noisy.items()}
    accuracies = []
    for seed in range(config.seeds):
        with_and_without = [
            accuracy(layer, learned, test)
            for learned in (
                learn(
                    layer,
                    one,
                    parts[2],
                    config.epochs * (len(one["y"]) // 50),
                    batch_size=50,
                    seed=seed,
                )
                for one in sets
            )
        ]
        accuracies.append((with_and_without[0], with_and_without[1]))
    captions = [f"label {noisy['y'][i]}, is {clean['y'][i]}" for i in suspects[:16]]
    return Measured(
        nan_found=nan_found,
        copies_found=copies_found,
        planted=len(wrong),
        found=np.cumsum(np.isin(suspects, wrong)) / np.arange(1, len(suspects) + 1),
        worst=clean["x"][suspects[:16]],
        captions=captions,
        accuracies=accuracies,
    )


def figures(result: Result[Measured]) -> list[float]:
    """What is found, and what it brings."""
    found = result.measured
    before, after = np.mean(found.accuracies, axis=0)
    return [found.nan_found, found.copies_found, found.precision, after - before]


def table(result: Result[Measured]) -> Table:
    """A line for each kind of fault, and the gain."""
    found = result.measured
    before, after = np.mean(found.accuracies, axis=0)
    yield "fault", "found"
    yield "rows of NaN", "all" if found.nan_found else "not all"
    yield "copies", "all" if found.copies_found else "not all"
    yield f"{found.planted} wrong labels, as many suspects", f"{found.precision:.3f}"
    yield "test accuracy with the suspects", f"{before:.4f}"
    yield "test accuracy without them", f"{after:.4f}"


def plot(result: Result[Measured]) -> dict[str, Figure]:
    """How many suspects are rightly so, and the first of them."""
    from dlcore import plot

    found, planted = result.measured.found, result.measured.planted
    counts = np.arange(1, len(found) + 1)
    recall = found * counts / planted
    return {
        "suspects": plot.lines(
            plot.Panel(
                f"{planted} wrong labels among {len(counts):,} examples",
                "suspects looked at, by out-of-fold loss",
                "share",
                {
                    "of the suspects, wrong": (counts, found),
                    "of the wrong, among the suspects": (counts, recall),
                },
                percent=True,
                level=("by chance", planted / len(counts)),
            )
        ),
        "first": plot.image_grid(result.measured.worst, result.measured.captions),
    }


def found_by_comparison(clean: dict[str, np.ndarray]) -> tuple[bool, bool]:
    """Whether planted rows of NaN, and planted copies, are all that is found."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(clean["y"]), FEW, replace=False))
    x = clean["x"].copy()
    x[rows, 14, 14] = np.nan
    nan_found = np.array_equal(data.nonfinite({**clean, "x": x}), rows)
    copies = rng.choice(len(x), FEW)
    with_copies = np.concatenate([clean["x"], clean["x"][copies]])
    own = data.duplicates(clean["x"])
    expected = np.concatenate([own, len(x) + np.arange(FEW)])
    return nan_found, np.array_equal(data.duplicates(with_copies), expected)


def mislabelled(
    clean: dict[str, np.ndarray], share: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(rows, the examples with another label in each of those rows)."""
    rng = np.random.default_rng(1)
    rows = np.sort(rng.choice(len(clean["y"]), round(share * len(clean["y"])), replace=False))
    labels = clean["y"].copy()
    labels[rows] = (labels[rows] + rng.integers(1, 10, len(rows))) % 10
    return rows, {**clean, "y": labels.astype(np.int32)}
