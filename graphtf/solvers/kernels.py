"""Compiled conjugate gradient on one large graph (package numba); the plain form is in `linear_cg`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from graphtf.compiled import has_numba
from graphtf.incidence import Incidence
from graphtf.solvers.compiled_cg import one_column, some_columns
from graphtf.solvers.compiled_sweeps import GaussSeidel

COMPILED_NODES = 2048  # from here on the compiled loops are worth their start
BLOCK = 8  # right-hand sides that share a pass over the matrix: one cache line of float64


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

        self.loops: Any = kernels_numba
        u, v = (end.numpy() for end in graph.index)
        weight = graph.weight.detach().double().contiguous().numpy()
        self.arrays = kernels_numba.compressed_rows(u, v, weight, graph.num_nodes)
        self._tensors: dict[torch.dtype, Tensor] = {}
        self._sweeps: GaussSeidel | None = None

    @property
    def ends(self) -> float:
        """Share of the nodes that have at most two neighbors."""
        return float((np.diff(self.arrays[0]) <= 2).mean())

    def components(self) -> Tensor:
        """`[n]` labels of the connected components, those of :meth:`graphtf.Incidence.components`."""
        return torch.from_numpy(self.loops.component_labels(*self.arrays[:2]))

    def full_matrix(self) -> tuple[Any, Any, Any]:
        """`(row starts, columns, values)` with the diagonal, columns not sorted."""
        return self.loops.with_diagonal(*self.arrays)

    def tensor(self, dtype: torch.dtype) -> Tensor:
        """`L` as a sparse tensor with int32 indices, whose product with several columns is `torch`'s own."""
        if dtype not in self._tensors:
            starts, columns, values = self.full_matrix()
            parts = (torch.from_numpy(starts.view(np.int32)), torch.from_numpy(columns.view(np.int32)))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
                n = len(starts) - 1
                self._tensors[dtype] = torch.sparse_csr_tensor(
                    *parts, torch.from_numpy(values).to(dtype), (n, n), check_invariants=False
                )
        return self._tensors[dtype]

    def matmul(self, x: Tensor) -> Tensor:
        """`L x` for `[n, k]`."""
        if x.shape[1] > 1:
            return torch.cat([self.tensor(x.dtype) @ part for part in x.split(BLOCK, 1)], 1)
        out = torch.empty_like(x)
        for column, into in zip(x.t(), out.t(), strict=True):
            self.loops.product(*self.arrays, column.contiguous().numpy(), into.numpy())
        return out

    def residual(self, psi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """`psi - L x` for `[n, k]`, and its relative length, `[k]`; the length itself where there are no demands."""
        left = psi - self.matmul(x) if x.shape[1] == 1 else torch.addmm(psi, self.tensor(x.dtype), x, alpha=-1)
        norm, size = (self._lengths(y) for y in (psi, left))
        return left, torch.from_numpy(size / np.where(norm > 0, norm, 1.0))

    def _lengths(self, x: Tensor) -> Any:
        block = x.contiguous().numpy()
        return np.sqrt(self.loops.block_energy(block, block))

    def conjugate_gradient(
        self,
        psi: Tensor,
        tol: float,
        max_layers: int,
        jacobi: bool = False,
        apply: Callable[[Any], Any] | None = None,
        stop_at: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> tuple[Tensor, int, Tensor]:
        """Conjugate gradient from zero on every column of the demands.

        Args:
            psi: `[n, k]` float64 demands in the range of `L`.
            tol: relative residual to stop at.
            max_layers: number of steps to stop at.
            jacobi: precondition by the degrees.
            apply: precondition by this function of one column, NumPy in and out.
            stop_at: return after so many steps if the residual does not fall fast enough to be worth going on
                (a probe); 0 means never.
            dtype: of the vectors, where there are several columns without `apply`.

        Returns:
            Potentials `[n, k]`, the number of steps (of the slowest column), and `[steps + 1, k]` residuals.
        """
        n, k = psi.shape
        scale = np.ones(n)
        if jacobi:
            degrees = self.arrays[3]
            scale = np.divide(1.0, degrees, out=np.zeros(n), where=degrees > 0)
        answers: list[tuple[Any, Any]] = []
        if apply is not None or k == 1:
            for column in psi.t():
                x, residuals = one_column(
                    self.loops, self.arrays, column.contiguous().numpy(), tol, max_layers, scale, apply, stop_at
                )
                answers.append((x[:, None], np.array(residuals)[:, None]))
        else:
            answers = self._blocks(psi, tol, max_layers, scale, stop_at, dtype)
        if not answers:
            return torch.zeros_like(psi), 0, psi.new_zeros(1, 0)
        most = max(len(history) for _, history in answers)
        histories = [np.pad(history, ((0, most - len(history)), (0, 0)), mode="edge") for _, history in answers]
        parts = [torch.from_numpy(x).double() for x, _ in answers]
        potentials = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return potentials, most - 1, torch.from_numpy(np.concatenate(histories, 1))

    def gauss_seidel(self, psi: Tensor, tol: float, max_layers: int, stop_at: int = 0) -> tuple[Tensor, int, Tensor]:
        """Conjugate gradient behind sweeps of Gauss-Seidel, for one column or many; as above."""
        if self._sweeps is None:
            self._sweeps = GaussSeidel(self.arrays)
        if psi.shape[1] == 1:
            x, history = self._sweeps.solve_one(psi.numpy(), tol, max_layers, stop_at)
        else:
            x, history = self._sweeps.solve(psi.numpy(), tol, max_layers, stop_at, torch.get_num_threads())
        return torch.from_numpy(x), len(history) - 1, torch.from_numpy(history)

    def _blocks(
        self, psi: Tensor, tol: float, max_layers: int, scale: Any, stop_at: int, dtype: torch.dtype
    ) -> list[tuple[Any, Any]]:
        L, double = self.tensor(dtype), dtype == torch.float64
        scale = scale.astype(np.float64 if double else np.float32)
        answers = []
        for part in psi.split(BLOCK, 1):
            size = np.ones(part.shape[1])
            if not double:  # squares of float32 overflow early
                size = self._lengths(part)
                size[size == 0] = 1.0
            block = (part if double else part * torch.from_numpy(1 / size)).to(dtype).contiguous().numpy()
            x, history = some_columns(
                self.loops, lambda p: (L @ torch.from_numpy(p)).numpy(), block, tol, max_layers, scale, stop_at
            )
            answers.append((x if double else x * size, history))
        return answers
