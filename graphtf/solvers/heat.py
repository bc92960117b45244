"""The heat kernel of a graph, or of a batch, at several times in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphtf.constructions import heat_kernel as heat_layers
from graphtf.incidence import Incidence
from graphtf.layout import local_index
from graphtf.products import as_operand
from graphtf.solvers.filters import ChebyshevSum, expansion, expansion_rounding
from graphtf.solvers.graphs import as_incidence
from graphtf.solvers.heat_dense import dense_heat
from graphtf.solvers.solution import ConvergenceError, Solution
from graphtf.validate import check_choice, check_positive_int

METHODS = ("auto", "dense", "gradient", "memory")
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
LARGEST_DENSE = 256  # nodes of the largest graph up to which "auto" decomposes matrices
COLUMNS = 1 << 24  # entries of the block of unit vectors whose heat gives the diagonal


def heat_kernel(
    graph: Any,
    x: Tensor | None = None,
    times: float | Sequence[float] | Tensor = 1.0,
    *,
    normalization: str | None = None,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    method: str = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    dtype: torch.dtype | None = None,
) -> Solution:
    r"""Heat that starts as `x`, after every one of several times.

    .. math:: y_t = e^{-t L} x, \qquad L \in \{B B^\top,\ D^{-1/2} B B^\top D^{-1/2},\ D^{-1} B B^\top\}

    Methods: `"memory"` sums the Chebyshev expansion, all times from one recurrence; its degree follows from `tol` by
    the sum of the coefficients that are left out, which bounds the error. `"gradient"` is the paper's Taylor series, of
    depth `max_layers`, with the bound :math:`(t \lambda)^{l+1} / (l+1)!`, :math:`\lambda` the bound of the largest
    eigenvalue (it loses :math:`e^{t \lambda}` times rounding on top). `"dense"` decomposes every graph; `"auto"` does
    if no graph has more than 256 nodes, and else takes `"memory"`. Both compute in float64 and round at the end.

    Gradients reach `x` and the weights and are finite whatever the eigenvalues: that of `x` is another heat kernel,
    that of the weights the exact derivative of the expansion (no stored layers), or of the matrix exponential for
    `"dense"`. `"gradient"` unrolls its layers. Second derivatives are not implemented but for `"gradient"`.

    Args:
        graph: anything :func:`graphtf.solvers.graphs.as_incidence` takes, with `edge_weight`, `num_nodes`, `batch`.
        x: `[n]` or `[n, k]` start; `None` asks for the diagonal of the kernel.
        times: one time, or `T` of them, finite and not negative.
        normalization: `None`, `"sym"` or `"rw"`. Nodes without edges keep their heat.
        edge_weight: `[E]` conductances, with an `edge_index`.
        num_nodes: number of nodes, with an `edge_index`.
        batch: `[n]` graph of every node, with an `edge_index`.
        method: see above.
        tol: allowed error of :math:`\|y_t - e^{-tL} x\| / \|x\|` (for `"rw"` in the norm weighted with the degrees);
            default 1e-10, in float32 1e-4.
        max_layers: largest degree for `"memory"`, by default 200,000; the depth of `"gradient"`, by default 100.
        dtype: floating type of the answer; `None` is that of the weights, float64 if `x` is.

    Returns:
        `[T, n, k]` or `[T, n]`, like `x`; the diagonal as `[n, T]`. A single time that is a number or a tensor without
        dimension has no `T`. `residual` `[T]` is the bound of the error, with an estimate of the rounding.

    Raises:
        TypeError, ValueError: an argument is not as described.
        ConvergenceError: the bound is larger than `tol`.

    Example:
        >>> import torch
        >>> edge = torch.tensor([[0, 1], [1, 0]])
        >>> y = heat_kernel(edge, torch.tensor([1.0, 0.0]), times=[0.0, 0.5])  # (1 + 1/e) / 2, (1 - 1/e) / 2
        >>> [[round(v, 4) for v in row] for row in y.tolist()]
        [[1.0, 0.0], [0.6839, 0.3161]]

    Source: Cheng, Carin, Sra, ICLR 2025 (Taylor); Tal-Ezer, Kosloff, J. Chem. Phys. 81, 1984 (Chebyshev); Hochbruck,
    Lubich, SIAM J. Numer. Anal. 34, 1997 (bound).
    """
    check_choice("method", method, METHODS)
    if normalization not in (None, "sym", "rw"):
        raise ValueError(f"normalization must be None, 'sym' or 'rw', but got {normalization!r}")
    if tol is not None and not 0 < tol < float("inf"):
        raise ValueError(f"tol must be positive and finite, but got {tol}")
    if max_layers is not None:
        max_layers = check_positive_int("max_layers", max_layers)
    scalar, seconds = _times(times)
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    if isinstance(x, Tensor) and x.dtype == torch.float64 and B.dtype != torch.float64:
        B, x = (B.to(torch.float64), x) if dtype is None else (B, x.to(B.dtype))
    answer = B.dtype
    limit = TOLERANCE[answer] if tol is None else float(tol)
    if method == "auto":
        sizes = torch.bincount(B.batch, minlength=max(B.num_graphs, 1))
        method = "dense" if int(sizes.max()) <= LARGEST_DENSE else "memory"
    if method in ("dense", "memory") and answer != torch.float64:
        B = B.to(torch.float64)
    S = B if normalization is None else B.normalized("sym")
    columns: Tensor | None = None
    if x is not None:
        x = as_operand(x, B.num_nodes, B.dtype)
        if x.dim() > 2:
            raise ValueError(f"x must be [n] or [n, k], but has shape {list(x.shape)}")
        columns = x.unsqueeze(1) if x.dim() == 1 else x
    scale = None
    if normalization == "rw" and columns is not None:  # D^{-1/2} exp(-t L_sym) D^{1/2}; the diagonal is the same
        degree = B.degree
        scale = torch.where(degree > 0, degree, 1.0).sqrt().unsqueeze(1)
        columns = columns * scale
    run = {"dense": _dense, "memory": _memory, "gradient": _gradient}[method]
    y, residual, layers = run(S, columns, seconds, limit, max_layers)  # [T, n, k] or [T, n]
    if scale is not None:
        y = y / scale
    if x is None:
        y = y.t()
    elif x.dim() == 1:
        y = y.squeeze(2)
    if scalar:
        y, residual = (y[:, 0] if x is None else y[0]), residual[0]
    if y.dtype != answer:
        y, residual = y.to(answer), (residual + torch.finfo(answer).eps).to(answer)
    solution = Solution.of(y, residual, layers, method, residual if method == "gradient" else None)
    if method != "gradient" and residual.numel() and float(residual.max()) > limit:
        raise ConvergenceError(
            f"the error is at most {float(residual.max()):.1e} after {layers} layers, but tol is {limit:.1e}; raise "
            "max_layers or tol, or compute in float64",
            solution,
        )
    return solution


def _times(times: float | Sequence[float] | Tensor) -> tuple[bool, list[float]]:
    if isinstance(times, Tensor) and times.requires_grad:
        raise ValueError("times are numbers without gradients; pass times.detach()")
    try:
        tensor = torch.as_tensor(times, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"times must be a number or a sequence of numbers, but got {times!r}") from error
    if tensor.dim() > 1:
        raise ValueError(f"times must be one number or a sequence [T], but have shape {list(tensor.shape)}")
    if not bool((torch.isfinite(tensor) & (tensor >= 0)).all()):
        raise ValueError(f"times must be finite and not negative, but are {tensor.tolist()}")
    return tensor.dim() == 0, tensor.flatten().tolist()


_Result = tuple[Tensor, Tensor, int]


def _dense(S: Incidence, x: Tensor | None, times: list[float], tol: float, max_layers: int | None) -> _Result:
    seconds = torch.tensor(times, dtype=S.dtype, device=S.device)
    largest = S.lambda_bound().detach().max() if S.num_graphs else S.weight.new_zeros(())
    # A backward stable decomposition moves L by some units of its norm, and the kernel by t times that at most.
    rounding = torch.finfo(S.dtype).eps * (8 + torch.clamp(seconds * largest, max=1e3))
    return dense_heat(S, x, seconds), rounding, 0


def _memory(S: Incidence, x: Tensor | None, times: list[float], tol: float, max_layers: int | None) -> _Result:
    _, _, w, diagonal = S._laplacian_entries()
    bound = S.lambda_bound().detach()
    limit = 200_000 if max_layers is None else max_layers
    rows: list[list[Tensor]] = []
    residual = torch.zeros(len(times), dtype=torch.float64)
    known: dict[float, tuple[Tensor, float, float]] = {}
    for t, time in enumerate(times):
        rows.append([])
        for value in bound.double().cpu().tolist():
            z = time * value / 2
            if z not in known:
                c, left = expansion(z, tol / 2, limit)
                known[z] = c, left, expansion_rounding(c, S.dtype)
            c, left, rounding = known[z]
            rows[t].append(c)
            residual[t] = max(float(residual[t]), left + rounding)
    degree = max((len(c) for row in rows for c in row), default=1) - 1
    table = torch.zeros(len(times), degree + 1, max(S.num_graphs, 1), dtype=torch.float64)
    for t, row in enumerate(rows):
        for g, c in enumerate(row):
            table[t, : len(c), g] = c
    table = table.to(S.weight)
    per_node = bound[S.batch] if S.num_graphs != 1 else bound.expand(S.num_nodes)
    coefficients = table if S.num_graphs == 1 else table[..., S.batch]

    def apply(columns: Tensor) -> Tensor:
        if S.num_nodes == 0 or not times:
            return columns.new_zeros(len(times), *columns.shape)
        return ChebyshevSum.apply(columns, w, diagonal, S.index, per_node, coefficients)

    if x is not None:
        return apply(x), residual.to(S.weight), degree
    if S.num_nodes == 0:
        return S.weight.new_zeros(len(times), 0), residual.to(S.weight), degree
    local, size = local_index(S)
    step = max(1, COLUMNS // (S.num_nodes * max(len(times), 1)))
    parts = []
    for start in range(0, size, step):
        unit = (local.unsqueeze(1) == torch.arange(start, min(start + step, size), device=local.device)).to(S.dtype)
        parts.append((apply(unit) * unit).sum(2))
    return torch.stack(parts).sum(0), residual.to(S.weight), degree


def _gradient(S: Incidence, x: Tensor | None, times: list[float], tol: float, max_layers: int | None) -> _Result:
    depth = 100 if max_layers is None else max_layers
    bound = float(S.lambda_bound().detach().max()) if S.num_graphs and S.num_edges else 0.0
    start = x
    if start is None:
        local, size = local_index(S)
        start = (local.unsqueeze(1) == torch.arange(size, device=local.device)).to(S.dtype)
    columns, bounds = [], []
    for time in times:
        z = time * bound
        if z == 0 or S.num_nodes == 0:
            columns.append(start)
            bounds.append(0.0)
            continue
        columns.append(heat_layers(depth, time, bound, form="taylor", dtype=S.dtype)(S, psi=start))
        exponent = (depth + 1) * math.log(z) - math.lgamma(depth + 2)
        bounds.append(math.exp(min(exponent, 700.0)))
    y = torch.stack(columns) if columns else start.new_zeros(0, *start.shape)
    y = (y * start).sum(2) if x is None else y
    return y, torch.tensor(bounds, dtype=torch.float64).to(S.weight), depth
