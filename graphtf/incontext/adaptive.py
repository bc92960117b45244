"""A layer with memory on prompts, whose coefficients are computed from the tokens: conjugate gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphtf.attention import Layer
from graphtf.layout import Layout
from graphtf.memory import ratio


class AdaptiveDescent(Layer):
    r"""A step of (preconditioned) conjugate gradients on the demonstrations' squared error, in the space of tokens.

    .. math:: G = \tfrac1n X A X^\top r, \quad \rho = \langle r, G \rangle, \quad
        u \leftarrow G + \gamma \frac{\rho}{\rho_{last}} u, \quad
        r \leftarrow r - \alpha \frac{\rho}{\langle u, u \rangle} u

    with inner products that are means over the demonstrations. In weights, :math:`g = \tfrac1n X^\top r` is the
    negative gradient, :math:`\rho = g^\top A g`, and `u` the image `X s` of the direction `s`, so that
    :math:`\langle u, u \rangle = s^\top S s`: one product with the scores a layer, and no bounds of the spectrum.
    A prompt whose :math:`\rho` is rounding, compared with its largest so far, no longer moves.

    Args:
        alpha: factor of the step, 1 for conjugate gradients.
        gamma: factor of the memory, 1 for conjugate gradients; 0 is steepest descent.
        data: `[1, d, d]` symmetric positive preconditioner `A`; `None`: the identity.

    Shapes:
        layout, registers `[*, 4, k]` in the order of `REGISTERS` -> layout, registers `[*, 4, k]`.

    Raises:
        ValueError: a factor is no single number, or `data` has another shape.

    Example:
        >>> from graphtf.prompt_layout import PromptLayout
        >>> layout = PromptLayout(torch.tensor([[[1.0], [1.0], [2.0]]]))
        >>> start = torch.zeros(1, 3, 4, 1)
        >>> start[0, :2, 0] = 3.0  # two labels; the query comes last
        >>> layer = AdaptiveDescent(torch.ones(()), torch.ones(()))
        >>> layer(layout, start)[1][0, :, 0].flatten().tolist()  # w = 3
        [0.0, 0.0, -6.0]

    Reference: Hestenes, Stiefel, J. Res. Nat. Bur. Standards 49, 1952; Dutta, Sra, 2024, Proposition 1, which holds
    where the coefficients are computed, as here.
    """

    REGISTERS = ("residual", "direction", "rho", "peak")

    def __init__(self, alpha: Tensor, gamma: Tensor, data: Tensor | None = None) -> None:
        super().__init__()
        for name, factor in (("alpha", alpha), ("gamma", gamma)):
            if factor.dim():
                raise ValueError(f"{name} must be a single number, a tensor of shape [], but has {list(factor.shape)}")
        if data is not None and (data.dim() != 3 or len(data) != 1 or data.shape[1] != data.shape[2]):
            raise ValueError(f"data must be one symmetric matrix [1, d, d], but has shape {list(data.shape)}")
        self.alpha, self.gamma = nn.Parameter(alpha), nn.Parameter(gamma)
        self.data = None if data is None else nn.Parameter(data)

    @property
    def num_registers(self) -> int:
        """The four registers of `REGISTERS`."""
        return len(self.REGISTERS)

    def forward(self, layout: Layout, registers: Tensor) -> tuple[Layout, Tensor]:
        """Apply the step to `[*, 4, k]` registers."""
        residual, direction, last, peak = registers.unbind(-2)
        dtype = residual.dtype
        image = layout.laplacian(residual, None if self.data is None else self.data[0].to(dtype))
        rho = layout.inner(residual, image)
        peak = torch.maximum(peak, rho.detach())
        alive = rho > peak * (8 * torch.finfo(dtype).eps) ** 2
        direction = image + self.gamma.to(dtype) * ratio(rho, last, alive) * direction
        step = self.alpha.to(dtype) * ratio(rho, layout.inner(direction, direction), alive)
        return layout, torch.stack([residual - step * direction, direction, rho, peak], -2)
