"""Augmentation of text: of sentences as lists of words, and in `ids` as numbers."""

from dlcore.data.augment.text import ids as ids
from dlcore.data.augment.text.thesaurus import Thesaurus as Thesaurus
from dlcore.data.augment.text.thesaurus import nearest_words as nearest_words
from dlcore.data.augment.text.thesaurus import read_mythes as read_mythes
from dlcore.data.augment.text.thesaurus import read_thesaurus as read_thesaurus
from dlcore.data.augment.text.words import each as each
from dlcore.data.augment.text.words import random_deletion as random_deletion
from dlcore.data.augment.text.words import random_insertion as random_insertion
from dlcore.data.augment.text.words import random_swap as random_swap
from dlcore.data.augment.text.words import random_synonyms as random_synonyms
