"""Data sets that come with scikit-learn: nothing to download."""

from __future__ import annotations

import numpy as np

from dlcore.data.dataset import Arrays, Dataset, check_count, stratified_order
from dlcore.data.images import resize
from dlcore.data.preprocess import mean_and_std, normalize

_SEED = 0  # of the splits: a constant, so that everybody's figures are on the same examples


def digits(size: int = 8) -> Dataset:
    """Handwritten digits [N, size, size, 1] in [0, 1]: 1,257 / 180 / 360 in the three splits.

    The splits are fixed and stratified. `size` other than the set's own 8 resizes bilinearly.
    """
    from sklearn.datasets import load_digits

    size = check_count("size", size, 1, 1_024)
    data = load_digits()
    images = (data.images[..., None] / 16).astype(np.float32)
    arrays = {
        "x": images if size == 8 else resize(images, size),
        "y": data.target.astype(np.int32),
    }
    return Dataset(
        "digits",
        **_split(arrays, stratified_order(data.target, _SEED), test=360, validation=180),
        classes=tuple(map(str, range(10))),
        description=(
            "Digits (scikit-learn; Alpaydin and Kaynak 1998, test part of UCI's optdigits): "
            "handwritten digits, 8×8 grey of 17 levels, 1,797. CC BY 4.0 as given by UCI."
        ),
    )


def diabetes() -> Dataset:
    """Progression of diabetes [N, 1] from ten measures [N, 10]: 266 / 88 / 88 patients.

    Measures and target are standardised with the training split's mean and deviation; those of
    the target stand in the description.
    """
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True, scaled=False)
    raw = {"x": x, "y": y[:, None]}
    splits = _split(raw, stratified_order(np.zeros(len(y)), _SEED), test=88, validation=88)
    statistics = {key: mean_and_std(splits["train"][key]) for key in raw}

    def standardised(arrays: Arrays) -> Arrays:
        return {
            key: normalize(statistics[key], array).astype(np.float32)
            for key, array in arrays.items()
        }

    mean, std = (value.item() for value in statistics["y"])
    return Dataset(
        "diabetes",
        **{split: standardised(arrays) for split, arrays in splits.items()},
        classes=(),
        description=(
            "Diabetes (scikit-learn; Efron, Hastie, Johnstone, Tibshirani 2004): progression after "
            f"a year, 442 patients, standardised: score = {mean:.4f} + {std:.4f}·y. "
            "No licence stated."
        ),
    )


def _split(arrays: Arrays, order: np.ndarray, *, test: int, validation: int) -> dict[str, Arrays]:
    held_out = test + validation
    rows = {
        "train": np.sort(order[held_out:]),
        "validation": np.sort(order[test:held_out]),
        "test": np.sort(order[:test]),
    }
    return {
        split: {key: array[chosen] for key, array in arrays.items()}
        for split, chosen in rows.items()
    }
