r"""A layer with memory whose coefficients are adaptive: conjugate gradients.

Memory with fixed coefficients needs no class: a register that keeps the last iterate is enough, see
:func:`graphtf.constructions.chebyshev`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from graphtf.attention import Layer
from graphtf.layout import Layout, PaddedLayout, graph_layout
from graphtf.validate import check_choice

Preconditioner = Literal["none", "jacobi"]
PRECONDITIONERS = ("none", "jacobi")


class Memory(NamedTuple):
    """The registers of conjugate gradients, `[*, k]` each (or, the last two, `[k]` for a single graph)."""

    residual: Tensor
    x: Tensor
    p: Tensor
    rho: Tensor
    peak: Tensor


def conjugate_gradient_step(
    state: Memory,
    laplacian: Callable[[Tensor], Tensor],
    inner: Callable[[Tensor, Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor] | None = None,
    alpha: Tensor | float = 1.0,
    gamma: Tensor | float = 1.0,
) -> Memory:
    r"""One step of preconditioned conjugate gradients on every column of its own; see :class:`ConjugateGradient`.

    Args:
        state: the registers; `Memory(psi, 0, 0, 0, 0)` at the start.
        laplacian: the product `p -> L p`.
        inner: inner products of columns, in a shape that broadcasts against the registers.
        precondition: a symmetric positive map of residuals; `None` is the identity.
        alpha: factor of the step.
        gamma: factor of the memory.

    Returns:
        The registers after the step. Columns whose residual is zero or rounding keep their `residual` and `x`.

    Example:
        >>> import torch
        >>> psi, zero = torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 1)
        >>> L = torch.tensor([[4.0, -4.0], [-4.0, 4.0]])
        >>> start = Memory(psi, zero, zero, torch.zeros(1), torch.zeros(1))
        >>> conjugate_gradient_step(start, lambda p: L @ p, lambda a, b: (a * b).sum(0)).x.flatten().tolist()
        [0.125, -0.125]
    """
    residual, x, p, last, peak = state
    z = residual if precondition is None else precondition(residual)
    rho = inner(residual, z)
    # What is left of a converged column is rounding, part of it in the null space of L, where no step is right.
    peak = torch.maximum(peak, rho.detach())
    alive = rho > peak * (8 * torch.finfo(rho.dtype).eps) ** 2
    p = z + gamma * ratio(rho, last, alive) * p
    q = laplacian(p)
    step = alpha * ratio(rho, inner(p, q), alive)
    return Memory(residual - step * q, x + step * p, p, rho, peak)


def ratio(numerator: Tensor, denominator: Tensor, where: Tensor) -> Tensor:
    """`numerator / denominator` where that is wanted and the denominator positive, else zero; safe for gradients.

    Example:
        >>> import torch
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> ratio(zero, zero, one > 0).item(), ratio(one, 2 * one, one > 0).item()
        (0.0, 0.5)
    """
    usable = where & (denominator > 0)
    return torch.where(usable, numerator / torch.where(usable, denominator, 1.0), 0.0)


class ConjugateGradient(Layer):
    r"""A step of conjugate gradients: attention with score `L`, and memory with coefficients computed from tokens.

    .. math:: z = D^{-1} r, \quad p \leftarrow z + \gamma \frac{r^\top z}{\rho} p, \quad
        x \leftarrow x + \alpha \frac{r^\top z}{p^\top L p} p, \quad
        r \leftarrow r - \alpha \frac{r^\top z}{p^\top L p} L p, \quad \rho \leftarrow r^\top z

    The residual `r` lies in register `psi`, the memory of past directions in `p`. The two inner products are attention
    scores between registers, taken for every column of every graph of its own, with :math:`0 / 0 = 0`; the score `L`
    is applied once a layer. A column whose residual is rounding, compared with the largest residual so far (register
    `peak`), no longer moves. The preconditioner is a diagonal in the value map: entry `u` of `D` is the score of token
    `u` with itself.

    Args:
        alpha: factor of the step, 1 for conjugate gradients.
        gamma: factor of the memory, 1 for conjugate gradients; 0 forgets, which is steepest descent.
        preconditioner: `"none"` (`D = I`) or `"jacobi"` (`D` the diagonal of `L`, isolated nodes left out).

    Shapes:
        layout, registers `[*, 5, k]` in the order of `REGISTERS` -> layout, registers `[*, 5, k]`.

    Raises:
        ValueError: `preconditioner` is none of these, or a factor is no single number.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> from graphtf.layout import SparseLayout
        >>> B = Incidence(torch.tensor([[0], [1]]), torch.tensor([4.0]))  # one edge of resistance 1/4
        >>> start = torch.zeros(2, 5, 1)
        >>> start[:, 0, 0] = torch.tensor([1.0, -1.0])
        >>> layer = ConjugateGradient(torch.ones(()), torch.ones(()))
        >>> layer(SparseLayout(B), start)[1][:, 1].flatten().tolist()  # x = L^+ psi
        [0.125, -0.125]

    Reference: Hestenes, Stiefel, J. Res. Nat. Bur. Standards 49, 1952; memory of attention values: Dutta, Sra,
    "Memory-augmented Transformers can implement Linear First-Order Optimization Methods", 2024.
    """

    REGISTERS = ("psi", "x", "p", "rho", "peak")

    def __init__(self, alpha: Tensor, gamma: Tensor, preconditioner: Preconditioner = "none") -> None:
        super().__init__()
        check_choice("preconditioner", preconditioner, PRECONDITIONERS)
        for name, factor in (("alpha", alpha), ("gamma", gamma)):
            if factor.dim():
                raise ValueError(f"{name} must be a single number, a tensor of shape [], but has {list(factor.shape)}")
        self.alpha, self.gamma = nn.Parameter(alpha), nn.Parameter(gamma)
        self.preconditioner = preconditioner

    @property
    def num_registers(self) -> int:
        """The five registers of `REGISTERS`."""
        return len(self.REGISTERS)

    def forward(self, layout: Layout, registers: Tensor) -> tuple[Layout, Tensor]:
        """Apply the step to `[*, 5, k]` registers."""
        dtype = registers.dtype
        state = conjugate_gradient_step(
            Memory(*registers.unbind(-2)),
            layout.laplacian,
            layout.inner,
            jacobi(laplacian_diagonal(layout)) if self.preconditioner == "jacobi" else None,
            self.alpha.to(dtype),
            self.gamma.to(dtype),
        )
        return layout, torch.stack(state, dim=-2)

    def extra_repr(self) -> str:
        """The preconditioner."""
        return f"preconditioner={self.preconditioner!r}"


class LiteralConjugateGradient(nn.Module):
    """The literal twin of :class:`ConjugateGradient`: the same step on tokens `[B | registers]`, with explicit scores.

    Args:
        layer: the layer.
        num_edges: number of edges `m`, the width of the block `B`.
        channels: number of columns `k` of every register.
        dtype: floating type of the weights.

    Shapes:
        tokens `[n, m + 5 k]`, batch `[n]` or `None` -> tokens `[n, m + 5 k]`.

    Example:
        >>> import torch
        >>> twin = LiteralConjugateGradient(ConjugateGradient(torch.ones(()), torch.ones(())), 1, 1, torch.float32)
        >>> Z = torch.tensor([[2.0, 1.0, 0.0, 0.0, 0.0, 0.0], [-2.0, -1.0, 0.0, 0.0, 0.0, 0.0]])  # B, psi, zeros
        >>> twin(Z)[:, 2].tolist()
        [0.125, -0.125]
    """

    def __init__(self, layer: ConjugateGradient, num_edges: int, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        width = num_edges + layer.num_registers * channels
        query = torch.zeros(width, width, dtype=dtype)
        query.diagonal()[:num_edges] = 1.0
        self.query, self.key = nn.Parameter(query), nn.Parameter(torch.eye(width, dtype=dtype))
        # value[a] picks register a out of a token, [width, k]
        columns = torch.eye(width, dtype=dtype)[:, num_edges:]
        self.value = nn.Parameter(torch.stack(columns.split(channels, dim=1)))
        self.alpha = nn.Parameter(layer.alpha.detach().to(dtype))
        self.gamma = nn.Parameter(layer.gamma.detach().to(dtype))
        self.preconditioner = layer.preconditioner

    def forward(self, tokens: Tensor, batch: Tensor | None = None) -> Tensor:
        """Apply the step to `[n, d]` tokens; `batch` `[n]` keeps graphs apart."""
        dtype = tokens.dtype
        batch = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device) if batch is None else batch
        same = (batch[:, None] == batch[None, :]).to(dtype)  # [n, n]
        score = (tokens @ self.query.to(dtype)) @ (tokens @ self.key.to(dtype)).t() * same  # L = B B^T
        residual, _, p, last, peak = (tokens @ value for value in self.value.to(dtype))
        scale = torch.ones_like(score.diagonal())
        if self.preconditioner == "jacobi":
            scale = ratio(scale, score.diagonal(), scale > 0)
        z = torch.diag(scale) @ residual
        rho = same @ (residual * z)
        new_peak = torch.maximum(peak, rho)
        alive = rho > new_peak * (8 * torch.finfo(dtype).eps) ** 2
        direction = z + self.gamma.to(dtype) * ratio(rho, last, alive) * p
        step = self.alpha.to(dtype) * ratio(rho, same @ (direction * (score @ direction)), alive)
        change = (-step * (score @ direction), step * direction, direction - p, rho - last, new_peak - peak)
        for delta, value in zip(change, self.value.to(dtype), strict=True):
            tokens = tokens + delta @ value.t()
        return tokens


def laplacian_diagonal(layout: Layout) -> Tensor:
    """`[*]` diagonal of `L`, in the shape of a layout."""
    graphs = graph_layout(layout, "the Jacobi preconditioner")
    if isinstance(graphs, PaddedLayout):
        return graphs.laplacian_blocks.diagonal(dim1=1, dim2=2)
    return graphs.graph._laplacian_entries()[3]


def jacobi(diagonal: Tensor) -> Callable[[Tensor], Tensor]:
    """The map `r -> r / diagonal`, zero where the diagonal is."""
    inverse = ratio(torch.ones_like(diagonal), diagonal, diagonal > 0)
    return lambda residual: residual * inverse.unsqueeze(-1)
