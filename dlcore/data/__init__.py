"""Data sets, batching and preprocessing: numpy arrays in three splits, batches by index."""

from dlcore.data import augment
from dlcore.data.analogies import analogies
from dlcore.data.animals import Animals, animals_with_attributes
from dlcore.data.batching import (
    BatchError,
    HostData,
    HostSource,
    batches,
    batches_per_epoch,
    order,
    per_class,
    prefetch,
    streams,
)
from dlcore.data.binarisation import binarised
from dlcore.data.blocks import blocks
from dlcore.data.dataset import DataError, Dataset
from dlcore.data.folders import ImageFolder, image_folder
from dlcore.data.forms import DataWarning
from dlcore.data.fsdd import fsdd_sequences
from dlcore.data.images import canvas, resize, rgb, shift
from dlcore.data.labelled_texts import LabelledTexts
from dlcore.data.lengths import by_length
from dlcore.data.loader import Loader
from dlcore.data.long_memory import adding, copying
from dlcore.data.novels import lower_words, novels
from dlcore.data.phrases import join_phrases, phrase_scores
from dlcore.data.preprocess import (
    Normalization,
    Whitening,
    denormalize,
    fit_centering,
    fit_decorrelation,
    fit_pca,
    fit_zca,
    mean_and_std,
    normalize,
    unwhiten,
    whiten,
)
from dlcore.data.pronunciation import Pronunciations
from dlcore.data.quality import duplicates, nonfinite
from dlcore.data.registry import NAMES, load
from dlcore.data.selection import classes, subset, transform
from dlcore.data.subsampling import keep_probability, subsample
from dlcore.data.tagging import TaggedSentences
from dlcore.data.text import Corpus, tiny_shakespeare, windows
from dlcore.data.timeseries import Forecasting, Series, forecasting, series
from dlcore.data.tokenizers import Tokenizer, byte_pairs, characters, gpt2, tokenizer, words
from dlcore.data.vocabulary import Vocabulary, vocabulary
from dlcore.data.word_pairs import WordPairs, word_pairs
from dlcore.names import api

__all__ = [
    "NAMES",
    "Animals",
    "BatchError",
    "Corpus",
    "DataError",
    "DataWarning",
    "Dataset",
    "Forecasting",
    "HostData",
    "HostSource",
    "ImageFolder",
    "LabelledTexts",
    "Loader",
    "Normalization",
    "Pronunciations",
    "Series",
    "TaggedSentences",
    "Tokenizer",
    "Vocabulary",
    "Whitening",
    "WordPairs",
    "adding",
    "analogies",
    "animals_with_attributes",
    "augment",
    "batches",
    "batches_per_epoch",
    "binarised",
    "blocks",
    "by_length",
    "byte_pairs",
    "canvas",
    "characters",
    "classes",
    "copying",
    "denormalize",
    "duplicates",
    "fit_centering",
    "fit_decorrelation",
    "fit_pca",
    "fit_zca",
    "forecasting",
    "fsdd_sequences",
    "gpt2",
    "image_folder",
    "join_phrases",
    "keep_probability",
    "load",
    "lower_words",
    "mean_and_std",
    "nonfinite",
    "normalize",
    "novels",
    "order",
    "per_class",
    "phrase_scores",
    "prefetch",
    "resize",
    "rgb",
    "series",
    "shift",
    "streams",
    "subsample",
    "subset",
    "tiny_shakespeare",
    "tokenizer",
    "transform",
    "unwhiten",
    "vocabulary",
    "whiten",
    "windows",
    "word_pairs",
    "words",
]

__getattr__, __dir__ = api(
    __name__, __all__, foreign={"DataLoader": "Loader", "MPerClassSampler": "per_class"}
)
