"""Minimising a function of a few or of very many numbers: a direction, a step along it, again."""

from dlcore.names import api
from dlcore.optim.minimization.constraints import Constraints, Rounds
from dlcore.optim.minimization.curvature import Solution, conjugate_gradient, hessian_product
from dlcore.optim.minimization.directions import (
    Direction,
    gauss_newton,
    newton,
    newton_cg,
    spectral,
    steepest,
)
from dlcore.optim.minimization.loop import History, Status
from dlcore.optim.minimization.minimize import Result, minimize
from dlcore.optim.minimization.quasi_newton import bfgs, l_bfgs
from dlcore.optim.minimization.step_sizes import LineSearch, armijo, exact, wolfe

__all__ = [
    "Constraints",
    "Direction",
    "History",
    "LineSearch",
    "Result",
    "Rounds",
    "Solution",
    "Status",
    "armijo",
    "bfgs",
    "conjugate_gradient",
    "exact",
    "gauss_newton",
    "hessian_product",
    "l_bfgs",
    "minimize",
    "newton",
    "newton_cg",
    "spectral",
    "steepest",
    "wolfe",
]

__getattr__, __dir__ = api(__name__, __all__)
