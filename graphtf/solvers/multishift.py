"""Conjugate gradient for many shifts of one Laplacian at once: one product a layer, a pair of registers a shift."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.kernels import compiled_laplacian
from graphtf.solvers.linear_cg import per_graph_sum, sparse_laplacian

BLOCK = 16  # layers whose residuals are collected before the registers of all shifts are read and written


def laplacian_product(graph: Incidence) -> Callable[[Tensor], Tensor]:
    """`[n, k] -> L [n, k]` by the fastest kernel at hand, for a plain float64 operator."""
    compiled = compiled_laplacian(graph) if graph.num_graphs == 1 else None
    if compiled is not None:
        return compiled.matmul
    L = sparse_laplacian(graph)
    return lambda x: L @ x


def multishift(
    graph: Incidence, psi: Tensor, shifts: Tensor, cost: Tensor, goal: float, max_layers: int
) -> tuple[Tensor, int, Tensor]:
    r"""Solve :math:`(L + s_j) x_j = \psi` for all shifts from zero, every graph and column with its own coefficients.

    Krylov spaces do not depend on a shift, and residuals stay parallel, :math:`r_j = \zeta_j r`. So one run of
    conjugate gradient with the smallest shift, :math:`\alpha, \beta, r`, is enough, and per shift

    .. math::
        \theta_l^{-1} = 1 + (s_j - s_1) \alpha_l + \frac{\alpha_l \beta_{l-1}}{\alpha_{l-1}} (1 - \theta_{l-1}), \quad
        x \leftarrow x + \alpha_l \theta_l \zeta_l\, q, \quad q \leftarrow r_{l+1} + \beta_l \theta_l\, q, \quad
        \zeta_{l+1} = \theta_l \zeta_l .

    Args:
        graph: plain operator in float64, a batch or a single graph.
        psi: `[n, k]` centered demands.
        shifts: `[N, g]` ascending positive shifts of every graph.
        cost: `[N, g]` what a residual of size one costs in the answer.
        goal: a graph and column has arrived when :math:`\sum_j cost_j ||r_j|| \le goal\, ||\psi||`.
        max_layers: number of layers to stop at.

    Returns:
        `[k, N, n]` solutions, the number of layers, and `[layers + 1, k]` the sums of the worst graph, relative.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([1.0], dtype=torch.float64))
        >>> psi, one = torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
        >>> x, layers, _ = multishift(edge, psi, torch.cat([one, 2 * one]), torch.cat([one, one]), 1e-9, 9)
        >>> x[0, :, 0].round(decimals=6).tolist(), layers  # 1 / (2 + s)
        ([0.333333, 0.25], 1)

    Source: Jegerlehner, "Krylov space solvers for shifted linear systems", 1996; van den Eshof, Sleijpen, "Accurate
    conjugate gradient methods for families of shifted systems", Applied Numerical Mathematics 49, 2004.
    """
    product = laplacian_product(graph)
    seed, offsets = shifts[0], (shifts - shifts[0]).unsqueeze(2)  # [g], [N, g, 1]
    norm = per_graph_sum(graph, psi.square()).sqrt()  # [g, k]
    safe = torch.where(norm > 0, norm, 1.0)
    registers = (_Blocked if graph.num_graphs == 1 else _Direct)(graph, psi, len(shifts))
    base = seed[graph.batch].unsqueeze(1)
    price = cost.unsqueeze(2)
    r, p = psi.clone(), psi.clone()
    energy = norm.square()
    running = norm > 0
    zeta = torch.ones(len(shifts), *norm.shape, dtype=psi.dtype, device=psi.device)
    theta = torch.ones_like(zeta)
    size = zeta * (norm > 0)  # of the residuals of all shifts, relative; it stays where a shift has arrived
    alive = price * size > goal / (2 * len(shifts))
    memory = torch.zeros_like(norm)  # beta / alpha of the layer before
    history = [(price * size).sum(0).amax(0)]
    steps = 0

    def spread(values: Tensor) -> Tensor:
        return values if graph.num_graphs == 1 else values[graph.batch]

    while steps < max_layers and bool(running.any()):
        q = torch.addcmul(product(p), base, p)
        curvature = per_graph_sum(graph, p * q)
        running = running & (curvature > 0)
        alpha = torch.where(running, energy / torch.where(running, curvature, 1.0), 0.0)
        r.addcmul_(spread(alpha).expand_as(q), q, value=-1.0)
        after = per_graph_sum(graph, r.square())
        beta = torch.where(running, after / torch.where(energy > 0, energy, 1.0), 0.0)
        theta = 1 / (1 + offsets * alpha + alpha * memory * (1 - theta))
        active = int(alive.any(2).any(1).nonzero().max()) + 1 if bool(alive.any()) else 0
        registers.step(torch.where(alive, alpha * theta * zeta, 0.0), beta * theta, r, active)
        zeta = theta * zeta
        size = torch.where(alive & running, zeta * (after.sqrt() / safe), size)
        left = (price * size).sum(0)
        alive = alive & (price * size > goal / (2 * len(shifts)))
        p = r + spread(beta) * p
        memory = torch.where(running, beta / torch.where(running, alpha, 1.0), 0.0)
        energy = after
        running = running & (left > goal)
        alive = alive & running
        history.append(left.amax(0))
        steps += 1
    return registers.finish(), steps, torch.stack(history)


def corrections(
    graph: Incidence, left: Tensor, shift: Tensor, enough: Callable[[Tensor], bool], max_layers: int
) -> tuple[Tensor, int]:
    """Solve `(L + s_j) d_j = left_j` for what rounding has left, every shift with a right-hand side of its own.

    Rounding leaves rough vectors, on which few steps of conjugate gradient are enough.

    Args:
        graph: plain operator in float64.
        left: `[n, N]` right-hand sides.
        shift: `[n, N]` or `[1, N]` shifts.
        enough: whether norms `[g, N]` of the residuals are small enough to stop.
        max_layers: number of steps to stop at.

    Returns:
        `[n, N]`, and the number of steps.
    """
    product = laplacian_product(graph)
    d, r, p = torch.zeros_like(left), left.clone(), left.clone()
    energy = per_graph_sum(graph, r.square())
    steps = 0
    while steps < max_layers and not enough(energy.sqrt()):
        q = torch.addcmul(product(p), shift.expand_as(p), p)
        curvature = per_graph_sum(graph, p * q)
        alpha = torch.where(curvature > 0, energy / torch.where(curvature > 0, curvature, 1.0), 0.0)
        step = alpha if len(alpha) == 1 else alpha[graph.batch]
        d.addcmul_(step.expand_as(p), p)
        r.addcmul_(step.expand_as(q), q, value=-1.0)
        after = per_graph_sum(graph, r.square())
        beta = torch.where(energy > 0, after / torch.where(energy > 0, energy, 1.0), 0.0)
        p = r + (beta if len(beta) == 1 else beta[graph.batch]) * p
        energy = after
        steps += 1
    return d, steps


class _Direct:
    """The registers `x_j`, `q_j` of all shifts, `[k, N, n]`, with coefficients of every graph."""

    def __init__(self, graph: Incidence, psi: Tensor, count: int) -> None:
        self.batch = graph.batch
        self.x = psi.new_zeros(psi.shape[1], count, len(psi))
        self.q = psi.t().unsqueeze(1).repeat(1, count, 1)

    def step(self, forward: Tensor, keep: Tensor, r: Tensor, active: int) -> None:
        """`x += forward q`, then `q = r + keep q`, with coefficients `[N, g, k]`, of the first `active` shifts."""
        forward, keep = (c[:active, self.batch].permute(2, 0, 1) for c in (forward, keep))
        self.x[:, :active].addcmul_(forward, self.q[:, :active])
        self.q[:, :active].mul_(keep).add_(r.t().unsqueeze(1))

    def finish(self) -> Tensor:
        """The solutions."""
        return self.x


class _Blocked:
    """The same for a single graph, as matrix products: layers are first composed as maps of `q` and the residuals."""

    def __init__(self, graph: Incidence, psi: Tensor, count: int) -> None:
        k = psi.shape[1]
        self.x = psi.new_zeros(k, count, len(psi))
        self.q = psi.t().unsqueeze(1).repeat(1, count, 1)
        self.r = psi.new_zeros(k, BLOCK, len(psi))
        # x = x_0 + x_of q_0, q = q_of q_0, with the residuals of the block behind q_0 in the last dimension
        self.x_of, self.q_of = (psi.new_zeros(k, count, BLOCK + 1) for _ in range(2))
        self.q_of[..., 0] = 1.0
        self.pending = self.active = 0

    def step(self, forward: Tensor, keep: Tensor, r: Tensor, active: int) -> None:
        self.active = max(self.active, active)
        self.x_of += forward[:, 0].t().unsqueeze(2) * self.q_of
        self.q_of *= keep[:, 0].t().unsqueeze(2)
        self.r[:, self.pending] = r.t()
        self.pending += 1
        self.q_of[..., self.pending] = 1.0
        if self.pending == BLOCK:
            self._flush()

    def _flush(self) -> None:
        used, (k, _, n) = slice(0, self.active), self.x.shape
        new = slice(1, self.pending + 1)
        for column in range(k):
            x, q, r = self.x[column, used], self.q[column, used], self.r[column, : self.pending]
            x.addcmul_(self.x_of[column, used, :1].expand(-1, n), q)
            x.addmm_(self.x_of[column, used, new], r)
            q.mul_(self.q_of[column, used, :1]).addmm_(self.q_of[column, used, new], r)
        self.x_of.zero_()
        self.q_of.zero_()
        self.q_of[..., 0] = 1.0
        self.pending = self.active = 0

    def finish(self) -> Tensor:
        if self.pending:
            self._flush()
        return self.x
