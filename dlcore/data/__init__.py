"""Data sets, batching and preprocessing: numpy arrays in three splits, batches by index."""

from dlcore.data.batching import HostData as HostData
from dlcore.data.batching import HostSource as HostSource
from dlcore.data.batching import batches as batches
from dlcore.data.batching import batches_per_epoch as batches_per_epoch
from dlcore.data.batching import order as order
from dlcore.data.batching import prefetch as prefetch
from dlcore.data.dataset import DataError as DataError
from dlcore.data.dataset import Dataset as Dataset
from dlcore.data.preprocess import mean_and_std as mean_and_std
from dlcore.data.preprocess import resize as resize
from dlcore.data.registry import NAMES as NAMES
from dlcore.data.registry import load as load
