"""Embeddings in which squared distances are effective resistances."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.graphs import as_incidence
from graphtf.solvers.linear import Method, Options, as_demands, solve
from graphtf.solvers.linear_root import square_root
from graphtf.solvers.solution import Solution
from graphtf.validate import check_positive_int


def resistive_embedding(
    graph: Any,
    demands_or_k: Tensor | int,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    uncentered: Literal["project", "raise"] = "project",
    method: Method = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    history: bool = False,
) -> Solution:
    r"""Square root of the inverse Laplacian on demands, or a random embedding of the nodes.

    .. math:: X = (L^+)^{1/2} \psi, \qquad\text{or}\qquad
        Z = \tfrac{1}{\sqrt{k}} L^+ B \, \Omega, \quad \Omega \in \{-1, 1\}^{m \times k}, \quad
        ||Z_u - Z_v||^2 \approx R(u, v)

    The exact embedding is the first one for all unit vectors; :math:`||X||^2 = \psi^\top L^+ \psi`. The random one has
    `k` columns and relative errors of about :math:`\sqrt{2 / k}`: within a factor :math:`1 \pm \varepsilon` for all
    pairs at once, with high probability, from :math:`k = 24 \log(n) / \varepsilon^2` on.

    Args:
        graph: as in :func:`graphtf.solvers.electric_potential`.
        demands_or_k: `[n]` or `[n, k]` demands, or the number `k` of columns of a random embedding.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        uncentered: what to do with demands that do not sum to zero on a component, `"project"` or `"raise"`.
        max_layers: number of layers to give up after, or the depth of a method of fixed depth.
        dtype: floating type of the answer; `None` is that of the graph.
        history: keep the residuals of all layers.
        method: of a random embedding as in :func:`graphtf.solvers.electric_potential`. For demands `"dense"`
            (eigenvalues; graphs of at most 4,096 nodes), `"memory"` (a sum of shifted inverses, all of them from one
            run of conjugate gradient, see :class:`graphtf.solvers.root_memory.MemoryRoot`), `"gradient"` (the power
            series, of fixed depth) or `"auto"` (`"dense"` for graphs of at most 512 nodes, else `"memory"`,
            and eigenvalues after all where that fails and they can be had).
        tol: of a random embedding as in :func:`graphtf.solvers.electric_potential`; for demands the relative residual
            :math:`||\psi - L^{1/2} X|| / ||\psi||` on every graph, which is the error of `X` in the norm of its energy.
            `"dense"` measures it by applying the root twice, `"memory"` reports a proven bound computed from the
            residuals of all shifted systems; `"gradient"` takes its depth from it.
        generator: draws the signs of a random embedding; `None` is the same in every call.

    Returns:
        `[n]` or `[n, k]` as a :class:`~graphtf.solvers.Solution`, with zero mean on every component. Gradients reach
        the demands and the weights and are finite where eigenvalues are repeated; for demands once, but for
        `"gradient"`.

    Raises:
        ConvergenceError: the tolerance was not reached; the best answer is in its `solution`.
        TypeError: an argument has the wrong type.
        ValueError: an argument has the wrong shape or value.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1], [1, 2]])
        >>> X = resistive_embedding(path, torch.tensor([1.0, 0.0, -1.0]))
        >>> round(float(X.square().sum()), 4)  # resistance between the ends
        2.0
        >>> resistive_embedding(path, 8, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 8])

    Reference: Cheng, Carin, Sra, ICLR 2025, Lemma 2; Spielman, Srivastava, "Graph sparsification by effective
    resistances", SIAM J. Computing 2011; Hale, Higham, Trefethen, SIAM J. Numer. Anal. 46, 2008 (quadrature).
    """
    options = Options(method, tol, max_layers, generator, history)
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    if isinstance(demands_or_k, Tensor):
        B, psi = as_demands(B, demands_or_k, uncentered, dtype)
        return square_root(B, psi, options)
    k = check_positive_int("demands_or_k (a tensor of demands, or a number of columns)", demands_or_k)
    source = torch.Generator(device="cpu").manual_seed(0) if generator is None else generator
    signs = torch.randint(2, (B.num_edges, k), generator=source, device=source.device).to(B.device, B.dtype) * 2 - 1
    return solve(B, B.center(_currents(B, signs) / k**0.5), options)


def _currents(graph: Incidence, signs: Tensor) -> Tensor:
    """`B signs`, the demands of random currents of size `sqrt(w)` along every edge."""
    return graph @ signs
