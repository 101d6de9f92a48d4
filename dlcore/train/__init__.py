"""Training: objectives, steps, the loop, and what keeps a run safe."""

from dlcore.train import space
from dlcore.train.alternate import alternate
from dlcore.train.augmented import augmented
from dlcore.train.checkpoint import CheckpointError, CheckpointWarning
from dlcore.train.cross_validation import CrossValidation, cross_validate
from dlcore.train.evaluate import evaluate, predict
from dlcore.train.fit import Record, fit
from dlcore.train.guard import NonFiniteLossError
from dlcore.train.local import local_sgd
from dlcore.train.objective import (
    Objective,
    binary_classification,
    classification,
    regression,
    regularized,
    supervised,
)
from dlcore.train.optuna_search import optuna_search
from dlcore.train.precision import with_precision
from dlcore.train.rate_finder import RateFinder, find_rate
from dlcore.train.run import Interrupted, Result, run
from dlcore.train.state import TrainState, train_state
from dlcore.train.statistics import batch_norm_statistics
from dlcore.train.step import Step, make_step
from dlcore.train.stopping import EarlyStopping
from dlcore.train.sweep import Sweep, Trial, successive_halving, sweep
from dlcore.train.transfer import extract, layerwise

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "CrossValidation",
    "EarlyStopping",
    "Interrupted",
    "NonFiniteLossError",
    "Objective",
    "RateFinder",
    "Record",
    "Result",
    "Step",
    "Sweep",
    "TrainState",
    "Trial",
    "alternate",
    "augmented",
    "batch_norm_statistics",
    "binary_classification",
    "classification",
    "cross_validate",
    "evaluate",
    "extract",
    "find_rate",
    "fit",
    "layerwise",
    "local_sgd",
    "make_step",
    "optuna_search",
    "predict",
    "regression",
    "regularized",
    "run",
    "space",
    "successive_halving",
    "supervised",
    "sweep",
    "train_state",
    "with_precision",
]
