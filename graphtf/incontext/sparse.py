"""Sparse recovery in context: layers that run shrinkage algorithms on a matrix that every prompt brings anew."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from graphtf.attention import Layer
from graphtf.bipartite_layout import MatrixLayout
from graphtf.incontext.build import count_trained, prompt_layer, warn_divergence
from graphtf.prox import SoftThreshold, soft_threshold
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_choice, check_positive_int

REGISTERS = ("x", "last", "residual", "y", "weight")
DICTIONARIES = ("transpose", "analytic", "learned")


class SparsePrompt(NamedTuple):
    """Measurements `y = A x` of sparse vectors: `A` `[P, m, n]`, `y` `[P, m]`, `x` `[P, n]`."""

    A: Tensor
    y: Tensor
    x: Tensor


class SparseRecoveryPrompt:
    r"""Prompts of sparse recovery: Gaussian matrices with unit columns, Bernoulli-Gauss vectors.

    Args:
        m, n: measurements and unknowns.
        sparsity: probability that an entry of `x` is not zero; it is then normal.
        vary: another matrix in every prompt; else one for all, drawn by `matrix_seed`.
        matrix_seed: seed of that matrix.
        support: only the first so many entries may be nonzero; `None`: all.

    Raises:
        TypeError, ValueError: an option is out of its range.

    Example:
        >>> prompt = SparseRecoveryPrompt(m=25, n=50).sample(3, torch.Generator().manual_seed(0))
        >>> prompt.A.shape, prompt.y.shape, prompt.x.shape
        (torch.Size([3, 25, 50]), torch.Size([3, 25]), torch.Size([3, 50]))
    """

    def __init__(
        self,
        m: int = 25,
        n: int = 50,
        sparsity: float = 0.1,
        vary: bool = True,
        matrix_seed: int = 0,
        support: int | None = None,
    ) -> None:
        self.m, self.n = check_positive_int("m", m), check_positive_int("n", n)
        if not 0 < sparsity <= 1:
            raise ValueError(f"sparsity is a probability above 0, but got {sparsity}")
        self.support = n if support is None else check_positive_int("support", support)
        if self.support > n:
            raise ValueError(f"support must be at most n={n}, but got {support}")
        self.sparsity, self.vary = sparsity, vary
        self.matrix = self._matrices(1, torch.Generator().manual_seed(matrix_seed), torch.float64)[0]
        """`[m, n]` the common matrix, where it does not vary."""

    def _matrices(self, count: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        A = torch.randn(count, self.m, self.n, generator=generator, dtype=dtype)
        return A / A.norm(dim=1, keepdim=True)

    def sample(self, num_prompts: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> SparsePrompt:
        """Draw prompts."""
        check_positive_int("num_prompts", num_prompts)
        if self.vary:
            A = self._matrices(num_prompts, generator, dtype)
        else:
            A = self.matrix.to(dtype).expand(num_prompts, -1, -1)
        there = torch.rand(num_prompts, self.n, generator=generator) < self.sparsity
        there[:, self.support :] = False
        x = torch.randn(num_prompts, self.n, generator=generator, dtype=dtype) * there
        return SparsePrompt(A, (A @ x.unsqueeze(-1)).squeeze(-1), x)


def analytic_dictionary(A: Tensor) -> Tensor:
    r"""The dictionary `W` of least coherence with `A`, column by column.

    .. math:: w_i = \frac{(A A^\top)^{-1} a_i}{a_i^\top (A A^\top)^{-1} a_i}
        \quad = \arg\min \|W^\top A\|_F^2 \text{ with } w_i^\top a_i = 1

    Args:
        A: `[..., m, n]` with rank `m`.

    Raises:
        ValueError: `A` has more rows than columns.

    Example:
        >>> analytic_dictionary(torch.eye(2, 3)[:, :2]) + 0.0  # no -0
        tensor([[1., 0.],
                [0., 1.]])

    Reference: Liu, Chen, Wang, Yin, "ALISTA: Analytic weights are as good as learned weights in LISTA", ICLR 2019.
    """
    if A.shape[-2] > A.shape[-1]:
        raise ValueError(f"A must have at most as many rows as columns, but has shape {list(A.shape)}")
    Q, R = torch.linalg.qr(A.mT)  # (A A^T)^{-1} A = R^{-1} Q^T, without squaring the condition
    inverse = torch.linalg.solve_triangular(R, Q.mT, upper=True)
    return inverse / (A * inverse).sum(-2, keepdim=True)


class UnrolledLasso(nn.Module):
    r"""Layers that shrink towards a sparse solution of `A x = y`, on rows and columns of `A` as tokens.

    .. math:: x_{l+1} = S_{\theta_l}\bigl(x_l - \gamma_l W^\top (A x_l - y) + \mu_l (x_l - x_{l-1})\bigr)

    Two layers of the core a step: rows attend to columns, columns to rows. The matrix comes with the prompt, so nothing
    that is learned belongs to one matrix: :math:`\gamma, \theta, \mu` are numbers, and `W` is `A` (`"transpose"`:
    LISTA-form of ISTA), computed from it (`"analytic"`) or `A M_l` with learned :math:`M_l` (`"learned"`, LISTA-VM).
    What memory gives to :math:`x_l` and to :math:`x_{l-1}` is trained apart, so that there are up to four numbers a
    step. :meth:`forward` computes the steps with fewer operations than the layers of `transformer`, which hold them.

    Args:
        num_layers: number of steps.
        dictionary: which `W`.
        memory: learn :math:`\mu`, the memory of the last step; else it stays 0.
        n: number of unknowns, for learned maps.
        step: :math:`\gamma` at the start; `None`: 0.5 for the analytic dictionary, else 0.2. Untrained steps converge
            below 2 over the largest eigenvalue of :math:`W^\top A`, which is at least `n / m` for the analytic one:
            random matrices with up to twice as many columns as rows leave room for 0.5, wider ones may not.
        threshold: :math:`\theta` at the start.

    Shapes:
        A `[P, m, n]`, y `[P, m]` -> x `[P, n]`.

    Raises:
        TypeError, ValueError: an option is not as described, or `n` does not go with the dictionary.

    Example:
        >>> prompt = SparseRecoveryPrompt().sample(2, torch.Generator().manual_seed(0))
        >>> UnrolledLasso(num_layers=4)(prompt.A, prompt.y).shape
        torch.Size([2, 50])

    Reference: Liu et al., "On the learn-to-optimize capabilities of transformers in in-context sparse recovery", ICLR
    2025; memory as in Dutta, Sra, 2024.
    """

    def __init__(
        self,
        num_layers: int,
        dictionary: str = "analytic",
        memory: bool = True,
        n: int | None = None,
        step: float | None = None,
        threshold: float = 0.05,
    ) -> None:
        super().__init__()
        check_positive_int("num_layers", num_layers)
        self.dictionary = check_choice("dictionary", dictionary, DICTIONARIES)
        if (n is not None) != (dictionary == "learned"):
            raise ValueError(f"n belongs to dictionary='learned', and that needs it, but got {dictionary!r} and n={n}")
        step = step if step is not None else (0.5 if dictionary == "analytic" else 0.2)
        data = None if n is None else torch.eye(n).unsqueeze(0)
        layers = [layer for _ in range(num_layers) for layer in shrinkage_step(step, threshold, memory, data)]
        self.transformer = LinearTransformer(layers, REGISTERS, readout="x")

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        return count_trained(self)

    def forward(self, A: Tensor, y: Tensor, *, return_all: bool = False) -> Tensor:
        """Estimate `x`; with `return_all` also before the first and after every step, `[L + 1, P, n]`."""
        check_measurements(A, y)
        layout = MatrixLayout(A, analytic_dictionary(A) if self.dictionary == "analytic" else None)
        back, (at, last_at, residual_at) = layout.W.mT, map(REGISTERS.index, ("x", "last", "residual"))
        x = last = y.new_zeros(*A.shape[:-2], A.shape[-1])
        iterates = [x]
        for layer in self.transformer.stack[1::2]:
            skip, gamma = layer.skip[:, at, 0].to(x.dtype), -layer.value[0, residual_at, at, 0].to(x.dtype)
            step = (back @ (y.unsqueeze(-1) - A @ x.unsqueeze(-1))).squeeze(-1)
            if layer.data is not None:
                step = step @ layer.data[0].mT.to(x.dtype)
            z = x + gamma * step + skip[at] * x + skip[last_at] * last
            x, last = soft_threshold(z, cast(SoftThreshold, layer.prox).threshold.clamp(min=0).to(x.dtype)), x
            iterates = [*iterates, x] if return_all else [x]
        warn_divergence(x, y, len(self.transformer.layers) // 2)
        return torch.stack(iterates) if return_all else x


def nmse_db(estimate: Tensor, truth: Tensor) -> float:
    r"""Normalised error in decibels, :math:`10 \log_{10}(\sum \|\hat x - x\|^2 / \sum \|x\|^2)`.

    Example:
        >>> round(nmse_db(torch.tensor([[1.1]]), torch.tensor([[1.0]])), 3)
        -20.0
    """
    error, square = float((estimate - truth).square().sum()), float(truth.square().sum())
    if not square > 0:
        raise ValueError("the error is relative to the truth, but that is zero everywhere; draw more prompts")
    return 10 * math.log10(error / square) if error else -math.inf


def check_measurements(A: Tensor, y: Tensor) -> None:
    """Raise unless `y` `[..., m]` has a finite number for every row of `A` `[..., m, n]`, both floating-point."""
    if not A.is_floating_point() or y.dtype != A.dtype:
        raise TypeError(f"A and y must be floating-point tensors of one type, but are {A.dtype} and {y.dtype}")
    if y.shape != A.shape[:-1]:
        raise ValueError(f"y must have shape {list(A.shape[:-1])}, a number for every row of A, but {list(y.shape)}")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("y holds numbers that are not finite; remove or replace these measurements")


def shrinkage_step(step: float, threshold: float, memory: bool, data: Tensor | None) -> tuple[Layer, Layer]:
    """The two layers of a step: rows of a matrix attend to its columns, and columns to rows, before they shrink.

    Args:
        step: size of the step at the start.
        threshold: of the soft threshold at the start.
        memory: train the entries that remember the last step.
        data: `[1, n, n]` maps of the rows that are trained, or `None`.
    """
    measure = {("residual", "residual"): -1.0, ("y", "residual"): -1.0}
    first = prompt_layer(REGISTERS, {("x", "residual"): 1.0}, measure)
    keep = {("x", "last"): 1.0, ("last", "last"): -1.0}
    trained = {("value", ("residual", "x"))}
    if memory:
        trained |= {("skip", ("x", "x")), ("skip", ("last", "x"))}
    prox = SoftThreshold(REGISTERS.index("x"), threshold, REGISTERS.index("weight"))
    value = {("residual", "x"): -step}
    return first, prompt_layer(REGISTERS, value, keep, frozenset(trained), data=data, prox=prox)
