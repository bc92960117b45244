"""Learned sparse recovery whose weights belong to one matrix: LISTA and its relatives, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphtf.incontext.build import count_trained
from graphtf.incontext.sparse import analytic_dictionary
from graphtf.prox import soft_threshold
from graphtf.validate import check_choice, check_positive_int

VARIANTS = ("lista", "lista-cp", "lista-cpss", "alista")


class FixedMatrixLasso(nn.Module):
    r"""Unrolled shrinkage for one matrix :math:`A_0`, that training sees again and again.

    .. math::
        \text{lista: } & x_{l+1} = S_{\theta_l}(W_1 y + W_{2,l}\, x_l) \\
        \text{lista-cp: } & x_{l+1} = S_{\theta_l}\bigl(x_l + W_l^\top (y - A x_l)\bigr) \\
        \text{alista: } & x_{l+1} = S_{\theta_l}\bigl(x_l + \gamma_l W^\top (y - A x_l)\bigr)

    `W` is :func:`analytic_dictionary` of :math:`A_0`, and :math:`\gamma, \theta` are numbers; other matrices are
    learned. `"lista-cpss"` is `"lista-cp"` with :func:`select_support` in place of `S`. At the start `"lista"` and
    `"lista-cp"` are ISTA for :math:`A_0` exactly: :math:`W_1 = A_0^\top / c`, :math:`W_2 = I - A_0^\top A_0 / c`,
    :math:`W_l = A_0 / c`, :math:`\theta = \lambda / c`, :math:`c = \|A_0\|_2^2`; `"alista"` starts with
    :math:`\gamma = 1` and the same :math:`\theta`.

    This is plain code: its weights have the size of a matrix, which weights of the core's layers never have.

    Args:
        A: `[m, n]` the matrix :math:`A_0`.
        num_layers: number of steps.
        variant: which update.
        lam: :math:`\lambda` at the start.
        selection: share of the entries that one more layer selects, and the largest share, for `"lista-cpss"`.

    Shapes:
        A `[m, n]` or `[P, m, n]` (what residuals are taken with: :math:`A_0`, or another matrix to see what happens;
        `"lista"` does not look at it), y `[P, m]` -> x `[P, n]`.

    Raises:
        TypeError, ValueError: an option or an input is not as described.

    Example:
        >>> import torch
        >>> from graphtf.incontext import SparseRecoveryPrompt
        >>> prompt = SparseRecoveryPrompt(vary=False).sample(3, torch.Generator().manual_seed(0))
        >>> model = FixedMatrixLasso(prompt.A[0], num_layers=4, variant="lista")
        >>> model(model.matrix, prompt.y).shape
        torch.Size([3, 50])

    Reference: Gregor, LeCun, ICML 2010 (LISTA); Chen, Liu, Wang, Yin, NeurIPS 2018 (LISTA-CP, LISTA-CPSS); Liu, Chen,
    Wang, Yin, ICLR 2019 (ALISTA).
    """

    def __init__(
        self,
        A: Tensor,
        num_layers: int,
        variant: str = "lista-cp",
        lam: float = 0.1,
        selection: tuple[float, float] = (0.012, 0.13),
    ) -> None:
        super().__init__()
        self.variant = check_choice("variant", variant, VARIANTS)
        check_positive_int("num_layers", num_layers)
        if A.dim() != 2 or not A.is_floating_point() or not bool(torch.isfinite(A).all()):
            raise ValueError(f"A must be finite floating-point [m, n], but is {A.dtype} {list(A.shape)}")
        if not bool(A.any()):
            raise ValueError("A is zero everywhere: nothing can be recovered from its measurements")
        if not 0 <= lam < float("inf"):
            raise ValueError(f"lam must be at least 0 and finite, but got {lam}")
        if not 0 <= selection[0] <= selection[1] <= 1:
            raise ValueError(f"selection must be two shares, the first not above the second, but got {selection}")
        A, n = A.detach().clone(), A.shape[1]
        c = float(torch.linalg.matrix_norm(A, 2).square())
        self.register_buffer("matrix", A)
        self.matrix: Tensor
        self.theta = nn.Parameter(torch.full((num_layers,), lam / c, dtype=A.dtype))
        share, most = selection if variant == "lista-cpss" else (0.0, 0.0)
        self.selected = [int(n * min(layer * share, most)) for layer in range(1, num_layers + 1)]
        """Number of entries that every layer selects."""
        if variant == "lista":
            self.input_map = nn.Parameter(A.mT / c)
            self.maps = nn.Parameter((torch.eye(n, dtype=A.dtype) - A.mT @ A / c).repeat(num_layers, 1, 1))
        elif variant == "alista":
            self.register_buffer("dictionary", analytic_dictionary(A))
            self.dictionary: Tensor
            self.gamma = nn.Parameter(torch.ones(num_layers, dtype=A.dtype))
        else:
            self.maps = nn.Parameter((A / c).repeat(num_layers, 1, 1))

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        return count_trained(self)

    def forward(self, A: Tensor, y: Tensor, *, return_all: bool = False) -> Tensor:
        """Estimate `x`; with `return_all` also before the first and after every step, `[L + 1, P, n]`."""
        m, n = self.matrix.shape
        if A.shape not in ((m, n), (len(y), m, n)) or y.dim() != 2 or y.shape[1] != m:
            raise ValueError(
                f"A must be [{m}, {n}] or [P, {m}, {n}], the size of the matrix that this model is made for, and y "
                f"[P, {m}], but they have shapes {list(A.shape)} and {list(y.shape)}"
            )
        x = y.new_zeros(len(y), n)
        iterates = [x]
        for layer, (theta, selected) in enumerate(zip(self.theta.clamp(min=0), self.selected, strict=True)):
            x = select_support(self._before_shrinkage(layer, A, y, x), theta, selected)
            iterates = [*iterates, x] if return_all else [x]
        return torch.stack(iterates) if return_all else x

    def _before_shrinkage(self, layer: int, A: Tensor, y: Tensor, x: Tensor) -> Tensor:
        if self.variant == "lista":
            return y @ self.input_map.mT + x @ self.maps[layer].mT
        residual = y - (x @ A.mT if A.dim() == 2 else (A @ x.unsqueeze(-1)).squeeze(-1))
        if self.variant == "alista":
            return x + self.gamma[layer] * (residual @ self.dictionary)
        return x + residual @ self.maps[layer]

    def extra_repr(self) -> str:
        """Size and variant."""
        return f"A={list(self.matrix.shape)}, num_layers={len(self.theta)}, variant={self.variant!r}"


def select_support(z: Tensor, theta: Tensor | float, count: int) -> Tensor:
    r"""Soft thresholding that leaves the `count` largest of what passes the threshold as they are.

    .. math:: x_i = z_i \text{ if } |z_i| > \theta \text{ is among the largest, else } S_\theta(z_i)

    Args:
        z: `[..., n]`.
        theta: threshold, at least 0.
        count: number of entries; 0: plain soft thresholding.

    Raises:
        TypeError, ValueError: `count` is no number from 0 to `n`.

    Example:
        >>> select_support(torch.tensor([4.0, -3.0, 0.5]), 1.0, 1)
        tensor([ 4., -2.,  0.])

    Reference: Chen, Liu, Wang, Yin, NeurIPS 2018, section 2.3.
    """
    if check_positive_int("count", count, minimum=0) > z.shape[-1]:
        raise ValueError(f"count must be at most {z.shape[-1]}, the number of entries, but got {count}")
    shrunk = soft_threshold(z, theta)
    if count == 0:
        return shrunk
    largest = torch.zeros_like(z, dtype=torch.bool).scatter(-1, z.abs().topk(count).indices, True)
    return torch.where(largest & (shrunk != 0), z, shrunk)
