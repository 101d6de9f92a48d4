"""Bad data is found by looking at it: NaN, duplicates, and labels the other examples contradict.

Digits of MNIST with faults planted among them: rows of NaN, exact copies, and one label in ten made
another. What is not finite and what repeats is found by comparison. The labels are suspected by
cross-validation: the greater the loss of an example under the networks that have not seen it, the
more suspect; as many are removed as were planted.

    rows of NaN found and nothing else                            = 1 of 1
    copies found and nothing else                                 = 1 of 1
    wrong labels among the suspects (by chance 0.1)               > 0.5
    test accuracy: without the suspects − with them               > 0

Lecture C: removing bad data; out-of-sample predictions against labels as in Northcutt et al. 2021
("Confident learning"), who estimate how many to remove instead of knowing it.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore import data, models, optim, train
from experiments import claim
from experiments._learning import accuracy, first, learn
from experiments.choice import at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 20  # rows of NaN, and copies


@dataclasses.dataclass(frozen=True)
class Config:
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
    root: Path | None = None
    """Folder that holds the data set mnist; by default the user's cache."""
    out: Path | None = None
    """Folder for everything written; by default runs/bad_data."""

    def __post_init__(self) -> None:
        at_least(100, images=self.images)
        at_least(10, test_images=self.test_images)
        at_least(2, folds=self.folds)
        at_least(1, epochs=self.epochs, seeds=self.seeds)
        if not 0 < self.share < 1:
            raise ValueError(f"share must be in (0, 1), got {self.share}")

    @classmethod
    def smoke(cls) -> Config:
        """Seconds."""
        return cls(images=100, test_images=20, folds=2, epochs=1, seeds=1)


@dataclasses.dataclass(frozen=True)
class Result:
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
    seconds: float
    claims: list[claim.Claim]
    config: Config

    @property
    def precision(self) -> float:
        """Of as many suspects as were planted, which is also the share of the planted found."""
        return float(self.found[self.planted - 1])

    def __rich__(self) -> Any:
        """A row for each kind of fault, and the gain."""
        from rich.table import Table

        before, after = np.mean(self.accuracies, axis=0)
        shown = Table("fault", "found")
        shown.add_row("rows of NaN", "all" if self.nan_found else "not all")
        shown.add_row("copies", "all" if self.copies_found else "not all")
        shown.add_row(f"{self.planted} wrong labels, as many suspects", f"{self.precision:.3f}")
        shown.add_row("test accuracy with the suspects", f"{before:.4f}")
        shown.add_row("test accuracy without them", f"{after:.4f}")
        return shown


def run(config: Config) -> Result:
    """Plants, finds, removes, and trains with and without."""
    began = time.perf_counter()
    digits = data.load("mnist", config.root)
    clean, test = first(digits.train, config.images), first(digits.test, config.test_images)
    nan_found, copies_found = found_by_comparison(clean)
    wrong, noisy = mislabelled(clean, config.share)
    layer = models.mlp(clean["x"].shape[1:], (64,), 10, dropout=0.0)
    parts = layer, train.classification(layer), optim.adam(1e-3)
    (crossed,) = train.cross_validate(
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
    result = Result(
        nan_found=nan_found,
        copies_found=copies_found,
        planted=len(wrong),
        found=np.cumsum(np.isin(suspects, wrong)) / np.arange(1, len(suspects) + 1),
        worst=clean["x"][suspects[:16]],
        captions=captions,
        accuracies=accuracies,
        seconds=time.perf_counter() - began,
        claims=[],
        config=config,
    )
    return dataclasses.replace(result, claims=claims(result))


def plot(result: Result) -> dict[str, Figure]:
    """How many suspects are rightly so, and the first of them."""
    from dlcore import plot

    counts = np.arange(1, len(result.found) + 1)
    recall = result.found * counts / result.planted
    return {
        "suspects": plot.lines(
            plot.Panel(
                f"{result.planted} wrong labels among {len(counts):,} examples",
                "suspects looked at, by out-of-fold loss",
                "share",
                {
                    "of the suspects, wrong": (counts, result.found),
                    "of the wrong, among the suspects": (counts, recall),
                },
                percent=True,
                level=("by chance", result.planted / len(counts)),
            )
        ),
        "first": plot.image_grid(result.worst, result.captions),
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


def claims(result: Result) -> list[claim.Claim]:
    """What is found, and what it brings."""
    before, after = np.mean(result.accuracies, axis=0)
    lecture = "lecture C"
    return [
        claim.at_least("rows of NaN found, no others", 1, float(result.nan_found), lecture),
        claim.at_least("copies found, no others", 1, float(result.copies_found), lecture),
        claim.more_than("wrong labels among the suspects", 0.5, result.precision, "Northcutt 2021"),
        claim.more_than("test accuracy: without − with", 0, float(after - before), lecture),
    ]
