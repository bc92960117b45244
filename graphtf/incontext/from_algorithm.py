"""In-context models whose layers are a known algorithm, by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor, nn

from graphtf.activation import Activation
from graphtf.attention import Layer
from graphtf.constructions import conjugate_gradient
from graphtf.constructions._weights import check_interval
from graphtf.constructions.momentum import chebyshev_steps
from graphtf.incontext.accelerated import AcceleratedLasso
from graphtf.incontext.adaptive import AdaptiveDescent
from graphtf.incontext.build import set_entries
from graphtf.incontext.gradient import gradient_descent_transformer
from graphtf.incontext.graph_memformer import GraphMemformer
from graphtf.incontext.kernel import kernel_transformer
from graphtf.incontext.memformer import MOMENTUM_REGISTERS, momentum_layer
from graphtf.incontext.model import InContextTransformer
from graphtf.incontext.shortest_path_transformer import ShortestPathTransformer
from graphtf.incontext.sparse import REGISTERS, UnrolledLasso
from graphtf.prox import SoftThreshold
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_choice, check_positive_int

Step = float | Tensor
"""A number, or a matrix `[d, d]`."""


@overload
def from_algorithm(
    algorithm: str, problem: Literal["regression", "functional"] = "regression", **options: Any
) -> InContextTransformer: ...
@overload
def from_algorithm(algorithm: str, problem: Literal["sparse"], **options: Any) -> UnrolledLasso: ...
@overload
def from_algorithm(algorithm: str, problem: Literal["electric"], **options: Any) -> LinearTransformer: ...
@overload
def from_algorithm(algorithm: str, problem: Literal["shortest-path"], **options: Any) -> ShortestPathTransformer: ...
def from_algorithm(algorithm: str, problem: str = "regression", **options: Any) -> nn.Module:
    r"""The model of a problem whose weights make its layers an algorithm, step by step; train it on from there, or not.

    | problem | algorithm | options |
    |---|---|---|
    | `"regression"` | `"gradient-descent"` | `steps`: numbers (then also `d`) or preconditioners `[d, d]` |
    | | `"gd++"` | `steps`, `moves`: of the samples, likewise; `d` |
    | | `"heavy-ball"` | `steps`, `momentum`: as many numbers |
    | | `"chebyshev"` | `num_layers`, `lambda_min`, `lambda_max`: of the second moments |
    | | `"conjugate-gradient"` | `num_layers`, `preconditioner`: `[d, d]`, or `None` |
    | `"functional"` | `"richardson"` | `d`, `steps`: numbers; `kernels`: as in :func:`kernel_transformer` |
    | `"sparse"` | `"ista"`, `"fista"` | `num_layers`, `lam`, `step`: at most :math:`1 / \|A\|^2` |
    | `"electric"` | `"gradient-descent"` | `steps` |
    | | `"heavy-ball"` | `steps`, `momentum` |
    | | `"chebyshev"` | `num_layers`, `lambda_min`, `lambda_max`: of the scaled Laplacians |
    | | `"conjugate-gradient"` | `num_layers` |
    | `"shortest-path"` | `"ista"` | `num_layers`, `lam`, `step`: at most :math:`1 / \|B\|^2` |
    | | `"continuation"` | those of :meth:`ShortestPathTransformer.with_decreasing_thresholds` |

    Args:
        algorithm: its name; where :mod:`graphtf.reference` has the plain algorithm, the options are those of it.
        problem: what it solves: regression or functional gradient descent on prompts, sparse recovery, potentials or
            shortest paths on graphs.
        **options: see the table; and, but for `"continuation"`, `dtype` of the weights, float64 unless given.

    Returns:
        The model. What models of its kind train asks for gradients, but constructions for graphs do not.

    Raises:
        ValueError: there is no such problem or algorithm, or an option is out of its range.
        TypeError: an option is missing, or belongs to another algorithm.

    Example:
        >>> from graphtf import reference
        >>> from graphtf.incontext import InContextRegression
        >>> prompt = InContextRegression(d=3, n=9).sample(2, torch.Generator().manual_seed(0), torch.float64)
        >>> model = from_algorithm("heavy-ball", steps=[0.5, 0.4], momentum=[0.0, 0.3])
        >>> x, y = prompt.x[:, :-1], prompt.y[:, :-1, None]
        >>> w = reference.gradient_descent(x.mT @ x / 9, (x.mT @ y / 9).squeeze(-1), [0.5, 0.4], [0.0, 0.3])
        >>> torch.allclose(model(prompt, return_all=True), (w * prompt.x[:, -1]).sum(-1))
        True
    """
    check_choice("problem", problem, tuple(ALGORITHMS))
    build = ALGORITHMS[problem][check_choice("algorithm", algorithm, tuple(ALGORITHMS[problem]))]
    signature = inspect.signature(build)
    try:
        signature.bind(**options)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise TypeError(f"{algorithm!r} for problem={problem!r} takes the options {names}; {error}") from None
    return build(**options)


def _gradient_descent(
    steps: Sequence[Step], d: int | None = None, dtype: torch.dtype = torch.float64
) -> InContextTransformer:
    return _trainable(gradient_descent_transformer(_matrices("steps", steps, d, dtype)))


def _moving(
    steps: Sequence[Step], moves: Sequence[Step], d: int | None = None, dtype: torch.dtype = torch.float64
) -> InContextTransformer:
    maps = _matrices("steps", steps, d, dtype), _matrices("moves", moves, d, dtype)
    return _trainable(gradient_descent_transformer(*maps))


def _matrices(name: str, steps: Sequence[Step], d: int | None, dtype: torch.dtype) -> list[Tensor]:
    matrices = [torch.as_tensor(step, dtype=dtype) for step in steps]
    if all(A.dim() for A in matrices):
        return matrices
    if d is None:
        raise ValueError(f"{name} are numbers, which need d, the dimension of a sample; or give matrices [d, d]")
    eye = torch.eye(check_positive_int("d", d), dtype=dtype)
    return [A if A.dim() else A * eye for A in matrices]


def _trainable(model: InContextTransformer) -> InContextTransformer:
    for layer in model.transformer.stack:
        for weight in (layer.data, layer.move):
            if weight is not None:
                weight.requires_grad_()
    return model


def _heavy_ball(
    steps: Sequence[float], momentum: Sequence[float], dtype: torch.dtype = torch.float64
) -> InContextTransformer:
    layers: list[Layer] = [momentum_layer(a, m, dtype=dtype) for a, m in _pairs(steps, momentum)]
    return InContextTransformer(layers, MOMENTUM_REGISTERS)


def _chebyshev(
    num_layers: int, lambda_min: float, lambda_max: float, dtype: torch.dtype = torch.float64
) -> InContextTransformer:
    check_interval(lambda_min, lambda_max)
    steps = chebyshev_steps(check_positive_int("num_layers", num_layers), lambda_min, lambda_max)
    return _heavy_ball([a for a, _ in steps], [m for _, m in steps], dtype)


def _pairs(steps: Sequence[float], momentum: Sequence[float]) -> list[tuple[float, float]]:
    if not len(steps) or len(steps) != len(momentum):
        raise ValueError(f"momentum must be as many numbers as steps, at least one, but {len(momentum)}, {len(steps)}")
    if any(isinstance(number, Tensor) and number.numel() != 1 for number in (*steps, *momentum)):
        raise ValueError("steps and momentum must be numbers; only 'gradient-descent' and 'gd++' take matrices")
    return [(float(a), float(m)) for a, m in zip(steps, momentum, strict=True)]


def _conjugate_gradient(
    num_layers: int, preconditioner: Tensor | None = None, dtype: torch.dtype = torch.float64
) -> InContextTransformer:
    A = None if preconditioner is None else preconditioner.detach().to(dtype).unsqueeze(0)
    layers = [
        AdaptiveDescent(torch.ones((), dtype=dtype), torch.ones((), dtype=dtype), None if A is None else A.clone())
        for _ in range(check_positive_int("num_layers", num_layers))
    ]
    return InContextTransformer(layers, AdaptiveDescent.REGISTERS)


def _richardson(
    d: int, steps: Sequence[float], kernels: Sequence[Activation] = ("relu",), dtype: torch.dtype = torch.float64
) -> InContextTransformer:
    return kernel_transformer(d, len(steps), kernels, step=steps, dtype=dtype)


def _ista(num_layers: int, lam: float, step: float, dtype: torch.dtype = torch.float64) -> UnrolledLasso:
    return _shrinkage(UnrolledLasso(num_layers, "transpose", memory=False).to(dtype), lam, step)


def _fista(num_layers: int, lam: float, step: float, dtype: torch.dtype = torch.float64) -> UnrolledLasso:
    return _shrinkage(AcceleratedLasso(num_layers, dtype=dtype), lam, step)


def _shrinkage(model: UnrolledLasso, lam: float, step: float) -> UnrolledLasso:
    _check_lasso(lam, step)
    for layer in model.transformer.stack[1::2]:
        set_entries(layer, REGISTERS, "value", {("residual", "x"): -step})
        cast(SoftThreshold, layer.prox).threshold.data.fill_(step * lam)
    return model


def _check_lasso(lam: float, step: float) -> None:
    if not (0 <= lam < float("inf") and 0 < step < float("inf")):
        raise ValueError(f"lam must be at least 0 and step positive, both finite, but got lam={lam} and step={step}")


def _graph_descent(steps: Sequence[float], dtype: torch.dtype = torch.float64) -> GraphMemformer:
    return _graph_heavy_ball(steps, [0.0] * len(steps), dtype)


def _graph_heavy_ball(
    steps: Sequence[float], momentum: Sequence[float], dtype: torch.dtype = torch.float64
) -> GraphMemformer:
    return GraphMemformer(_pairs(steps, momentum), dtype)


def _shortest_path(
    num_layers: int, lam: float, step: float, dtype: torch.dtype = torch.float64
) -> ShortestPathTransformer:
    _check_lasso(lam, step)
    rows = torch.tensor([[step, step * lam, 0.0]], dtype=dtype).expand(check_positive_int("num_layers", num_layers), 3)
    return ShortestPathTransformer.from_coefficients(rows)


ALGORITHMS: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "regression": {
        "gradient-descent": _gradient_descent,
        "gd++": _moving,
        "heavy-ball": _heavy_ball,
        "chebyshev": _chebyshev,
        "conjugate-gradient": _conjugate_gradient,
    },
    "functional": {"richardson": _richardson},
    "sparse": {"ista": _ista, "fista": _fista},
    "electric": {
        "gradient-descent": _graph_descent,
        "heavy-ball": _graph_heavy_ball,
        "chebyshev": GraphMemformer.from_spectrum,
        "conjugate-gradient": conjugate_gradient,
    },
    "shortest-path": {"ista": _shortest_path, "continuation": ShortestPathTransformer.with_decreasing_thresholds},
}
"""How the model of an algorithm is built, by the problem it solves."""
