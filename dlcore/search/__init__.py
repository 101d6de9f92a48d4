"""Many runs, to choose by: sweeps, cross-validation, the range of learning rates, Optuna."""

from dlcore.names import api
from dlcore.search import space
from dlcore.search.cross_validation import CrossValidation, cross_validate
from dlcore.search.optuna_search import optuna_search
from dlcore.search.rate_finder import RateFinder, find_rate
from dlcore.search.sweep import Sweep, Trial, successive_halving, sweep

__all__ = [
    "CrossValidation",
    "RateFinder",
    "Sweep",
    "Trial",
    "cross_validate",
    "find_rate",
    "optuna_search",
    "space",
    "successive_halving",
    "sweep",
]

__getattr__, __dir__ = api(__name__, __all__)
