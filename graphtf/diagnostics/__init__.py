"""How a model trains: gradient noise, robust condition number, directional smoothness, gap between optimizers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphtf.diagnostics.condition import hessian_diagonal, robust_condition_number
from graphtf.diagnostics.noise import NoiseTails, gradient_noise, noise_tails
from graphtf.diagnostics.objective import Objective
from graphtf.diagnostics.optimizer_gap import optimizer_gap
from graphtf.diagnostics.smoothness import Smoothness, directional_smoothness

if TYPE_CHECKING:
    from graphtf.diagnostics.callback import DiagnosticsCallback

__all__ = [
    "DiagnosticsCallback",
    "NoiseTails",
    "Objective",
    "Smoothness",
    "directional_smoothness",
    "gradient_noise",
    "hessian_diagonal",
    "noise_tails",
    "optimizer_gap",
    "robust_condition_number",
]


def __getattr__(name: str) -> Any:
    if name != "DiagnosticsCallback":  # which alone needs Lightning
        raise AttributeError(f"module 'graphtf.diagnostics' has no attribute {name!r}")
    return import_module("graphtf.diagnostics.callback").DiagnosticsCallback
