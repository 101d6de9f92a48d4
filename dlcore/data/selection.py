"""Data sets made of others: some of the classes, some of the labels, other inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dlcore.data.dataset import (
    SPLITS,
    Arrays,
    Dataset,
    check_count,
    same_form,
    stratified_order,
    unknown,
)


def classes(dataset: Dataset, chosen: Sequence[str | int]) -> Dataset:
    """The examples of the `chosen` classes, by name or index, relabelled 0 … K − 1 in that order.

    >>> from dlcore.data import load
    >>> classes(load("digits"), ["7", 1]).classes
    ('7', '1')
    """
    _check_classes("classes", dataset)
    labels = [_label(dataset, one) for one in chosen]
    if len(set(labels)) < len(labels) or not labels:
        raise ValueError(f"classes: chosen is {chosen!r}, but different classes are wanted")
    relabelled = np.full(len(dataset.classes), -1, np.int32)
    relabelled[labels] = np.arange(len(labels))

    def part(arrays: Arrays) -> Arrays:
        y = relabelled[arrays["y"]]
        return {"x": arrays["x"][y >= 0], "y": y[y >= 0]}

    names = tuple(dataset.classes[label] for label in labels)
    return replace(
        dataset,
        **_each(dataset, part),
        classes=names,
        description=f"{dataset.description} Only the classes {', '.join(names)}.",
    )


def subset(dataset: Dataset, per_class: int, seed: int = 0) -> Dataset:
    """`per_class` training examples of each class, drawn without replacement; the rest untouched.

    With one seed, a smaller subset is part of a larger one. The examples keep their order.
    """
    _check_classes("subset", dataset)
    y = dataset.train["y"]
    counts = np.bincount(y, minlength=len(dataset.classes))
    rarest = int(np.argmin(counts))
    if check_count("per_class", per_class, 1) > counts[rarest]:
        raise ValueError(
            f"subset: per_class is {per_class}, but there are {counts[rarest]} training examples "
            f"of the class {dataset.classes[rarest]}"
        )
    order = stratified_order(y, seed)
    drawn = [order[y[order] == label][:per_class] for label in range(len(dataset.classes))]
    rows = np.sort(np.concatenate(drawn))
    return replace(
        dataset,
        train={key: array[rows] for key, array in dataset.train.items()},
        description=f"{dataset.description} {per_class:,} training examples a class, seed {seed}.",
    )


def transform(dataset: Dataset, function: Callable[[np.ndarray], np.ndarray]) -> Dataset:
    """The data set with `function(x)` in the place of x in every split.

    Digits as a CIFAR network takes them:

    >>> from dlcore import data
    >>> transform(data.load("digits"), lambda x: data.rgb(data.resize(x, 32))).test["x"].shape
    (360, 32, 32, 3)
    """
    return replace(dataset, **_each(dataset, lambda part: part | {"x": function(part["x"])}))


def _each(dataset: Dataset, part: Callable[[Arrays], Arrays]) -> dict[str, Any]:
    return {split: part(getattr(dataset, split)) for split in SPLITS}


def _check_classes(function: str, dataset: Dataset) -> None:
    if not dataset.classes:
        raise ValueError(
            f"{function}: {dataset.name} is a regression, but a data set with classes is wanted"
        )


def _label(dataset: Dataset, one: str | int) -> int:
    if not isinstance(one, str):
        return check_count("class", one, 0, len(dataset.classes) - 1)
    names = [same_form(name) for name in dataset.classes]
    if same_form(one) not in names:
        raise ValueError(unknown(f"class of {dataset.name}", one, dataset.classes))
    return names.index(same_form(one))
