"""A layer with memory of the last iterate, whose two coefficients are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphtf.attention import Layer, StructuredAttention
from graphtf.layout import Layout


class Momentum(Layer):
    r"""A step of gradient descent with momentum on :math:`\frac12 x^\top L x - \psi^\top x`, by two numbers.

    .. math:: x \leftarrow x + \alpha (\psi - L x) + \beta (x - x_{last})

    It is the layer of :func:`graphtf.chebyshev` with its entries tied, so that solutions stay fixed points while
    :math:`\alpha` and :math:`\beta` are trained; :meth:`structured` writes the entries out.

    Args:
        alpha: step, a tensor of shape `[]`.
        beta: factor of the memory, likewise.

    Shapes:
        layout, registers `[*, 3, k]` in the order of `REGISTERS` -> layout, registers `[*, 3, k]`.

    Raises:
        ValueError: a coefficient is no single number.

    Example:
        >>> from graphtf import Incidence
        >>> from graphtf.layout import SparseLayout
        >>> B = Incidence(torch.tensor([[0], [1]]))  # one edge: eigenvalues 0 and 2
        >>> start = torch.zeros(2, 3, 1)
        >>> start[:, 0, 0] = torch.tensor([1.0, -1.0])
        >>> layer = Momentum(torch.tensor(0.5), torch.tensor(0.0))
        >>> layer(SparseLayout(B), start)[1][:, 1].flatten().tolist()  # x = L^+ psi
        [0.5, -0.5]

    Reference: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """

    REGISTERS = ("psi", "x", "last")

    def __init__(self, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        for name, number in (("alpha", alpha), ("beta", beta)):
            if number.dim():
                raise ValueError(f"{name} must be a single number, a tensor of shape [], but has {list(number.shape)}")
        self.alpha, self.beta = nn.Parameter(alpha), nn.Parameter(beta)

    @property
    def num_registers(self) -> int:
        """The three registers of `REGISTERS`."""
        return len(self.REGISTERS)

    def forward(self, layout: Layout, registers: Tensor) -> tuple[Layout, Tensor]:
        """Apply the step to `[*, 3, k]` registers."""
        psi, x, last = registers.unbind(-2)
        alpha, beta = self.alpha.to(x.dtype), self.beta.to(x.dtype)
        new = x + alpha * (psi - layout.laplacian(x)) + beta * (x - last)
        return layout, torch.stack([psi, new, x], dim=-2)

    def coefficients(self) -> tuple[float, float]:
        """`(alpha, beta)`."""
        return float(self.alpha.detach()), float(self.beta.detach())

    def structured(self, dtype: torch.dtype = torch.float64) -> StructuredAttention:
        """The same step as a layer of attention with all its entries."""
        alpha, beta = self.coefficients()
        value, skip = torch.zeros(1, 3, 3, 1, dtype=dtype), torch.zeros(3, 3, 1, dtype=dtype)
        value[0, 1, 1, 0], skip[0, 1, 0] = -alpha, alpha
        skip[1, 1, 0], skip[2, 1, 0], skip[1, 2, 0], skip[2, 2, 0] = beta, -beta, 1.0, -1.0
        return StructuredAttention(laplacian=torch.ones(1, dtype=dtype), value=value, skip=skip)
