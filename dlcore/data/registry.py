"""The data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, overload

from dlcore.data import (
    cifar,
    embedded,
    faces,
    files,
    fsdd,
    labelled_texts,
    mnist,
    pronunciation,
    tagging,
    toy,
)
from dlcore.data.dataset import DataError, Dataset, unknown
from dlcore.data.labelled_texts import LabelledTexts
from dlcore.data.pronunciation import Pronunciations
from dlcore.data.tagging import TaggedSentences

FROM_FILES: dict[str, Callable[..., Dataset | TaggedSentences | LabelledTexts | Pronunciations]] = {
    "mnist": mnist.mnist,
    "fashion_mnist": mnist.fashion_mnist,
    "cifar10": cifar.cifar10,
    "fsdd": fsdd.fsdd,
    "att_faces": faces.att_faces,
    "conll2000": tagging.conll2000,
    "ud_english_ewt": tagging.ud_english_ewt,
    "sentence_polarity": labelled_texts.sentence_polarity,
    "subjectivity": labelled_texts.subjectivity,
    "questions": labelled_texts.questions,
    "pronunciation": pronunciation.pronunciation,
}
BUILT_IN: dict[str, Callable[..., Dataset]] = {
    "digits": embedded.digits,
    "diabetes": embedded.diabetes,
    "xor": toy.xor,
    "circles": toy.circles,
    "gaussians": toy.gaussians,
    "spiral": toy.spiral,
    "moons": toy.moons,
    "plane": toy.plane,
    "bumps": toy.bumps,
}
NAMES = (*BUILT_IN, *FROM_FILES)


@overload
def load(  # type: ignore[overload-overlap]
    name: Literal["conll2000", "ud_english_ewt"], root: files.Root = None, **options: Any
) -> TaggedSentences: ...


@overload
def load(  # type: ignore[overload-overlap]
    name: Literal["sentence_polarity", "subjectivity", "questions"],
    root: files.Root = None,
    **options: Any,
) -> LabelledTexts: ...


@overload
def load(  # type: ignore[overload-overlap]
    name: Literal["pronunciation"], root: files.Root = None, **options: Any
) -> Pronunciations: ...


@overload
def load(name: str, root: files.Root = None, **options: Any) -> Dataset: ...


def load(name: str, root: files.Root = None, **options: Any) -> Any:
    """The data set called `name`, one of NAMES, in train / validation / test splits.

    mnist, fashion_mnist, cifar10 (option `validation`), fsdd (`validation`, `size`), att_faces
    (`split`), the tagged sentences of conll2000 (`validation`) and ud_english_ewt, the texts
    sentence_polarity, subjectivity and questions, and pronunciation (`stress`) are files, looked
    for in `root/NAME`, `root/data/NAME` and `root`, then in the user's cache (DLCORE_DATA, or the
    system's own); all but fsdd and att_faces are otherwise downloaded there. The content is checked
    by SHA-256. digits (`size`) and diabetes come with scikit-learn; xor, circles, gaussians,
    spiral, moons, plane, bumps (`n`, `noise`, `seed`) are drawn.

    Raises ValueError for an unknown name or option, DataError for a missing or damaged file.

    >>> load("digits").train["x"].shape
    (1257, 8, 8, 1)
    """
    if name not in NAMES:
        raise ValueError(unknown("data set", name, NAMES))
    folder = None if root is None else files.located(root)
    if folder is not None and not files.is_folder(folder):
        raise DataError(f"root={root}: there is no such folder; leave root out to download")
    loader = partial(FROM_FILES[name], folder) if name in FROM_FILES else BUILT_IN[name]
    known = list(inspect.signature(loader).parameters)
    for option in options:
        if option not in known:
            raise ValueError(unknown(f"option of {name}", option, known))
    return loader(**options)
