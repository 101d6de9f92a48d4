"""Data sets, batching and preprocessing: numpy arrays in three splits, batches by index."""

from dlcore.data import augment
from dlcore.data.batching import (
    BatchError,
    HostData,
    HostSource,
    batches,
    batches_per_epoch,
    order,
    prefetch,
    streams,
)
from dlcore.data.dataset import DataError, Dataset
from dlcore.data.folders import ImageFolder, image_folder
from dlcore.data.forms import DataWarning
from dlcore.data.fsdd import fsdd_sequences
from dlcore.data.images import canvas, resize, rgb, shift
from dlcore.data.loader import Loader
from dlcore.data.long_memory import adding, copying
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
from dlcore.data.quality import duplicates, nonfinite
from dlcore.data.registry import NAMES, load
from dlcore.data.selection import classes, subset, transform
from dlcore.data.timeseries import Forecasting, Series, forecasting, series
from dlcore.data.vocabulary import Vocabulary, vocabulary
from dlcore.names import api

__all__ = [
    "NAMES",
    "BatchError",
    "DataError",
    "DataWarning",
    "Dataset",
    "Forecasting",
    "HostData",
    "HostSource",
    "ImageFolder",
    "Loader",
    "Normalization",
    "Series",
    "Vocabulary",
    "Whitening",
    "adding",
    "augment",
    "batches",
    "batches_per_epoch",
    "canvas",
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
    "image_folder",
    "load",
    "mean_and_std",
    "nonfinite",
    "normalize",
    "order",
    "prefetch",
    "resize",
    "rgb",
    "series",
    "shift",
    "streams",
    "subset",
    "transform",
    "unwhiten",
    "vocabulary",
    "whiten",
]

__getattr__, __dir__ = api(__name__, __all__, foreign={"DataLoader": "Loader"})
