"""Grey images as images of 0 and 1, in the ways that published likelihoods differ by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from dlcore.checks import one_of
from dlcore.data.dataset import SPLITS, DataError, Dataset, check_count

Binarisation = Literal["dynamic", "fixed", "threshold", "grey"]


def binarised(dataset: Dataset, how: Binarisation, *, seed: int = 0) -> Dataset:
    """`dataset`, whose x lie in [0, 1], with pixels 0 or 1; its name says which way.

    how: "dynamic": a pixel is 1 with its grey value as the probability, drawn anew each time that
            an example is trained on, by `train.augmented(objective, data.augment.binarise)`: here
            train stays grey. Validation and test are drawn once (Salakhutdinov and Murray 2008;
            Burda et al. 2016).
        "fixed": drawn once in all splits (Larochelle and Murray 2011 publish such a set, drawn by
            them).
        "threshold": 1 above ½.
        "grey": as they are; a Bernoulli has no likelihood for them (`functional.Bernoulli`).
    seed: of what is drawn.

    Likelihoods of two ways do not compare: the same network reaches −103 nats on the dynamic
    digits of MNIST and −88 on those of the threshold.

    >>> from dlcore import data
    >>> data.binarised(data.load("digits"), "threshold").name
    'digits, threshold binarisation'
    """
    check_count("seed", seed, 0)
    drawn: tuple[str, ...] = one_of(
        "binarised",
        "how",
        how,
        {"dynamic": SPLITS[1:], "fixed": SPLITS, "threshold": (), "grey": ()},
    )
    for split in SPLITS:
        x = getattr(dataset, split)["x"]
        if x.min() < 0 or x.max() > 1:
            raise DataError(
                f"{dataset.name}/{split}/x lies in [{x.min():.4g}, {x.max():.4g}], but grey values "
                "in [0, 1] are wanted: binarise before normalising"
            )
    parts: dict[str, Any] = {}
    for index, split in enumerate(SPLITS):
        arrays = getattr(dataset, split)
        x = arrays["x"]
        if split in drawn:
            x = np.random.default_rng((seed, index)).random(x.shape, np.float32) < x
        elif how == "threshold":
            x = x > 0.5
        parts[split] = {**arrays, "x": x.astype(np.float32, copy=False)}
    said = "grey" if how == "grey" else f"{how} binarisation"
    told = f" Pixels: {said}{f', seed {seed}' if drawn else ''}."
    return replace(
        dataset,
        **parts,
        name=f"{dataset.name}, {said}",
        description=dataset.description + told,
    )
