"""Training: objectives, steps, the loop, and what keeps a run safe."""

from dlcore.names import api
from dlcore.train.alternate import alternate
from dlcore.train.augmented import augmented
from dlcore.train.checkpoint import CheckpointError, CheckpointWarning
from dlcore.train.evaluate import evaluate, predict
from dlcore.train.fit import Record, fit
from dlcore.train.guard import NonFiniteLossError
from dlcore.train.local import local_sgd
from dlcore.train.metric_learning import CollapseWarning, metric_learning
from dlcore.train.objective import (
    Objective,
    binary_classification,
    classification,
    multilabel_classification,
    regression,
    regularized,
    supervised,
)
from dlcore.train.precision import with_precision
from dlcore.train.reconstruction import reconstruction
from dlcore.train.rows import RowStep, row_step
from dlcore.train.run import Interrupted, Result, run
from dlcore.train.state import TrainState, train_state
from dlcore.train.statistics import batch_norm_statistics
from dlcore.train.step import Step, make_step
from dlcore.train.stopping import EarlyStopping
from dlcore.train.tagging import tagging
from dlcore.train.tensorboard import tensorboard
from dlcore.train.transfer import extract, layerwise
from dlcore.train.variational import variational

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "CollapseWarning",
    "EarlyStopping",
    "Interrupted",
    "NonFiniteLossError",
    "Objective",
    "Record",
    "Result",
    "RowStep",
    "Step",
    "TrainState",
    "alternate",
    "augmented",
    "batch_norm_statistics",
    "binary_classification",
    "classification",
    "evaluate",
    "extract",
    "fit",
    "layerwise",
    "local_sgd",
    "make_step",
    "metric_learning",
    "multilabel_classification",
    "predict",
    "reconstruction",
    "regression",
    "regularized",
    "row_step",
    "run",
    "supervised",
    "tagging",
    "tensorboard",
    "train_state",
    "variational",
    "with_precision",
]

__getattr__, __dir__ = api(
    __name__,
    __all__,
    foreign={"elbo": "train.variational", "ELBO": "train.variational"},
    moved={
        name: f"dlcore.search.{name}"
        for name in (
            *("CrossValidation", "RateFinder", "Sweep", "Trial", "cross_validate", "find_rate"),
            *("optuna_search", "space", "successive_halving", "sweep"),
        )
    },
)
