"""Sparse recovery with Nesterov's extrapolation: layers that run FISTA."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.bipartite_layout import MatrixLayout
from graphtf.incontext.build import set_entries, warn_divergence
from graphtf.incontext.sparse import REGISTERS, UnrolledLasso, check_measurements


class AcceleratedLasso(UnrolledLasso):
    r"""Layers that shrink from an extrapolated point: :class:`UnrolledLasso` whose rows measure that point.

    .. math:: z_l = x_l + \mu_l (x_l - x_{l-1}), \qquad
        x_{l+1} = S_{\theta_l}\bigl(z_l - \gamma_l A^\top (A z_l - y)\bigr), \qquad
        \mu_l = \frac{t_l - 1}{t_{l+1}}, \quad t_{l+1} = \frac{1 + \sqrt{1 + 4 t_l^2}}{2}

    The memory of :class:`UnrolledLasso` does not reach what is measured. Here it does, by two entries more, which are
    not trained; :meth:`forward` runs the layers as they are.

    Args:
        num_layers: number of steps.
        step: :math:`\gamma` at the start.
        threshold: :math:`\theta` at the start.
        dtype: floating type of the weights.

    Shapes:
        A `[P, m, n]`, y `[P, m]` -> x `[P, n]`.

    Raises:
        TypeError, ValueError: an option is out of its range.

    Example:
        >>> from graphtf import reference
        >>> A, y = torch.tensor([[1.0, 0.5], [0.0, 1.0]]), torch.tensor([1.0, 2.0])
        >>> x = AcceleratedLasso(num_layers=5, step=0.5, threshold=0.05)(A, y)
        >>> torch.allclose(x, reference.fista(A, y, 0.1, 5, step=0.5)[-1])
        True

    Reference: Beck, Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM J.
    Imaging Sci. 2, 2009.
    """

    def __init__(
        self, num_layers: int, step: float = 0.2, threshold: float = 0.05, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(num_layers, "transpose", memory=True, step=step, threshold=threshold)
        stack, mu, t = self.to(dtype).transformer.stack, 0.0, 1.0
        for measure, layer in zip(stack[::2], stack[1::2], strict=True):
            set_entries(measure, REGISTERS, "value", {("x", "residual"): 1 + mu, ("last", "residual"): -mu})
            set_entries(layer, REGISTERS, "skip", {("x", "x"): mu, ("last", "x"): -mu})
            following = (1 + (1 + 4 * t * t) ** 0.5) / 2
            mu, t = (t - 1) / following, following

    def forward(self, A: Tensor, y: Tensor, *, return_all: bool = False) -> Tensor:
        """Estimate `x`; with `return_all` also before the first and after every step, `[L + 1, P, n]`."""
        check_measurements(A, y)
        layout = MatrixLayout(A)
        state = A.new_zeros(*A.shape[:-2], sum(A.shape[-2:]), len(REGISTERS), 1)
        state[..., : layout.rows, REGISTERS.index("y"), 0] = y
        state[..., layout.rows :, REGISTERS.index("weight"), 0] = 1
        states = self.transformer.run(layout, state, last_only=not return_all)[::2]
        iterates = [s[..., layout.rows :, REGISTERS.index("x"), 0] for s in states]
        warn_divergence(iterates[-1], y, self.transformer.num_layers // 2)
        return torch.stack(iterates) if return_all else iterates[0]
