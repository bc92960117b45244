"""Compiled conjugate gradient on one large graph (package numba); the plain form is in `linear_cg`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from graphtf.incidence import Incidence

COMPILED_NODES = 2048  # from here on the compiled loops are worth their start
STALLED = 500  # preconditioned steps without progress: rounding
BLOCK = 8  # right-hand sides that share a pass over the matrix: one cache line of float64


@cache
def has_numba() -> bool:
    """Whether the compiled loops can be used."""
    return importlib.util.find_spec("numba") is not None


_COMPILED: WeakKeyDictionary[Incidence, CompiledLaplacian] = WeakKeyDictionary()


def compiled_laplacian(graph: Incidence) -> CompiledLaplacian | None:
    """The compiled form of a single large graph, made once; `None` where the loops do not apply.

    It also labels the components of `graph`, many times faster than tensor operations do.
    """
    if graph.device.type != "cpu" or graph.num_nodes < COMPILED_NODES or graph.num_edges >= 1 << 30 or not has_numba():
        return None
    compiled = _COMPILED.get(graph)
    if compiled is None:
        compiled = _COMPILED[graph] = CompiledLaplacian(graph)
        if graph._components is None:
            graph._components = compiled.components()
    return compiled


class CompiledLaplacian:
    """`L` in compressed rows with int32 indices, for the compiled loops.

    Args:
        graph: plain operator on the CPU, less than 2^31 entries; its weights are used as float64.

    Example:
        >>> import torch
        >>> L = CompiledLaplacian(Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0], dtype=torch.float64)))
        >>> L.conjugate_gradient(torch.tensor([[2.0], [-2.0]], dtype=torch.float64), tol=1e-9, max_layers=9)[0]
        tensor([[ 0.5000],
                [-0.5000]], dtype=torch.float64)
    """

    def __init__(self, graph: Incidence) -> None:
        from graphtf.solvers import kernels_numba

        self._loops: Any = kernels_numba
        u, v = (end.numpy() for end in graph.index)
        weight = graph.weight.detach().double().contiguous().numpy()
        self.arrays = kernels_numba.compressed_rows(u, v, weight, graph.num_nodes)

    def preconditioned(
        self, psi: Tensor, tol: float, max_layers: int, apply: Callable[[Any], Any]
    ) -> tuple[Tensor, int, Tensor]:
        """Conjugate gradient with any preconditioner, a NumPy function of one column; returns as the one above."""
        answers = [self._preconditioned(column.numpy(), tol, max_layers, apply) for column in psi.t().contiguous()]
        rows = max(len(history) for _, history in answers)
        table = torch.tensor([history + history[-1:] * (rows - len(history)) for _, history in answers]).double()
        return torch.from_numpy(np.stack([x for x, _ in answers], 1)), rows - 1, table.t()

    def _preconditioned(
        self, psi: Any, tol: float, max_layers: int, apply: Callable[[Any], Any]
    ) -> tuple[Any, list[float]]:
        norm = float(np.sqrt(psi @ psi))
        x, r, q, one = np.zeros_like(psi), psi.copy(), np.empty_like(psi), np.ones_like(psi)
        history = [1.0 if norm > 0 else 0.0]
        if norm == 0:
            return x, history
        z = apply(r)
        p, energy = z.copy(), float(r @ z)
        best, since = 1.0, 0
        while history[-1] > tol and len(history) <= max_layers and since < STALLED:
            curvature = self._loops.product(*self.arrays, p, q)
            if not curvature > 0:
                break
            square, _ = self._loops.advance(x, r, p, q, one, energy / curvature)
            history.append(float(square) ** 0.5 / norm)
            best, since = (history[-1], 0) if history[-1] < best else (best, since + 1)
            if history[-1] > tol:
                z = apply(r)
                after = float(r @ z)
                self._loops.turn(p, z, one, after / energy)
                energy = after
        return x, history

    def components(self) -> Tensor:
        """`[n]` labels of the connected components, those of :meth:`graphtf.Incidence.components`."""
        return torch.from_numpy(self._loops.component_labels(*self.arrays[:2]))

    def matmul(self, x: Tensor) -> Tensor:
        """`L x` for `[n, k]`."""
        out = torch.empty(x.shape[::-1], dtype=torch.float64)
        for column, into in zip(x.t().contiguous(), out, strict=True):
            self._loops.product(*self.arrays, column.numpy(), into.numpy())
        return out.t()

    def full_matrix(self) -> tuple[Any, Any, Any]:
        """`(row starts, columns, values)` with the diagonal, columns not sorted."""
        return self._loops.with_diagonal(*self.arrays)

    def conjugate_gradient(
        self, psi: Tensor, tol: float, max_layers: int, jacobi: bool = False, stop_at: int = 0
    ) -> tuple[Tensor, int, Tensor]:
        """Conjugate gradient from zero on every column of the demands.

        Args:
            psi: `[n, k]` float64 demands in the range of `L`.
            tol: relative residual to stop at.
            max_layers: number of steps to stop at.
            jacobi: precondition by the degrees.
            stop_at: return after so many steps if the residual does not fall fast enough to be worth going on
                (a probe); 0 means never.

        Returns:
            Potentials `[n, k]`, the number of steps (of the slowest column), and `[steps + 1, k]` residuals.
        """
        parts = psi.detach().split(BLOCK, 1)

        def run(part: Tensor) -> tuple[Any, int, Any]:
            if part.shape[1] > 1:
                return self._loops.block_conjugate_gradient(
                    *self.arrays, part.contiguous().numpy(), tol, max_layers, jacobi, stop_at
                )
            x, steps, history = self._loops.conjugate_gradient(
                *self.arrays, part[:, 0].contiguous().numpy(), tol, max_layers, jacobi, stop_at
            )
            return x[:, None], steps, history[:, None]

        workers = min(torch.get_num_threads(), len(parts))
        if workers > 1:  # the loops release the lock of the interpreter
            with ThreadPoolExecutor(workers) as pool:
                results = list(pool.map(run, parts))
        else:
            results = [run(part) for part in parts]
        solutions = [torch.from_numpy(x) for x, _, _ in results]
        histories = [torch.from_numpy(history) for _, _, history in results]
        most = max(steps for _, steps, _ in results)
        rows = max(len(h) for h in histories)
        padded = [torch.cat([h, h[-1:].expand(rows - len(h), -1)]) for h in histories]
        return torch.cat(solutions, 1), most, torch.cat(padded, 1)
