"""Solvers on graphs whose layers are those of linear transformers, exact to a tolerance."""

from graphtf.solvers.solution import ConvergenceError, Solution

__all__ = ["ConvergenceError", "Solution"]
