"""Augmentation of text: of sentences as lists of words, and in `ids` as numbers."""

from dlcore.data.augment.text import ids
from dlcore.data.augment.text.thesaurus import Thesaurus, nearest_words, read_mythes, read_thesaurus
from dlcore.data.augment.text.words import (
    each,
    random_deletion,
    random_insertion,
    random_swap,
    random_synonyms,
)
from dlcore.names import api

__all__ = [
    "Thesaurus",
    "each",
    "ids",
    "nearest_words",
    "random_deletion",
    "random_insertion",
    "random_swap",
    "random_synonyms",
    "read_mythes",
    "read_thesaurus",
]

__getattr__, __dir__ = api(__name__, __all__)
