"""Derivatives without JAX's: backpropagation by hand, and finite differences."""

from dlcore.derivatives import backprop, finite_differences

__all__ = ["backprop", "finite_differences"]
