"""Derivatives without JAX's: backpropagation by hand, and finite differences."""

from dlcore.derivatives import backprop, finite_differences
from dlcore.names import api

__all__ = ["backprop", "finite_differences"]

__getattr__, __dir__ = api(__name__, __all__)
