"""Prompts of Gaussian processes: labels that are jointly normal with a kernel as covariance."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from graphtf.incontext.prompts import Prompt
from graphtf.validate import check_choice, check_positive_int

Kernel = Literal["linear", "relu", "exp", "softmax", "comb"]
KERNELS = ("linear", "relu", "exp", "softmax", "comb")
JITTER = 1e-8  # of linear and comb, whose matrices are singular, or nearly, where n is large
COMBINED = 2  # coordinates of comb that its exponential sees


class GaussianProcessPrompt:
    r"""Samples on the unit sphere with labels :math:`(y_1, \dots, y_{n + 1}) \sim N(0, K)`.

    .. math::
        K_{ij} = x_i^\top x_j, \quad \mathrm{relu}(x_i^\top x_j), \quad \exp(x_i^\top x_j / 2), \quad
        \frac{\exp(x_i^\top x_j)}{\sqrt{Z_i Z_j}}, \quad \exp(u_i^\top u_j / 2) + v_i^\top v_j

    The second, `"relu"`, is not positive semidefinite. As in the paper's code, the absolute values of its eigenvalues
    are those of the covariance, which for the others is `K` itself. The softmax, :math:`e^{x_i^\top x_j} / Z_i` with
    :math:`Z_i = \sum_k e^{x_i^\top x_k}` over all samples of the prompt, is not symmetric; `"softmax"` is the symmetric
    matrix with its eigenvalues, which is a covariance. `"comb"` has the first two entries of `x` in `u` and the others
    in `v`.

    Args:
        kernel: which of them.
        n: number of demonstrations.
        d: dimension of a sample, at least 3 for `"comb"`.

    Raises:
        TypeError, ValueError: an option is out of its range.

    Example:
        >>> prompt = GaussianProcessPrompt("relu", n=14).sample(3, torch.Generator().manual_seed(0))
        >>> prompt.x.shape, prompt.target.shape
        (torch.Size([3, 15, 5]), torch.Size([3]))

    Reference: Cheng, Chen, Sra, "Transformers implement functional gradient descent to learn non-linear functions in
    context", ICML 2024.
    """

    def __init__(self, kernel: Kernel = "linear", n: int = 14, d: int = 5) -> None:
        check_choice("kernel", kernel, KERNELS)
        self.kernel: Kernel = kernel
        self.n = check_positive_int("n", n)
        self.d = check_positive_int("d", d, COMBINED + 1 if kernel == "comb" else 1)

    def gram(self, x: Tensor) -> Tensor:
        """`[P, N, N]` covariance of the labels of samples `[P, N, d]`."""
        eigenvalues, vectors = torch.linalg.eigh(kernel_matrix(self.kernel, x))
        return (vectors * eigenvalues.abs().unsqueeze(-2)) @ vectors.mT

    def sample(self, num_prompts: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Prompt:
        """Draw prompts; computed in float64, since kernel matrices are near singular."""
        check_positive_int("num_prompts", num_prompts)
        x = torch.randn(num_prompts, self.n + 1, self.d, generator=generator, dtype=torch.float64)
        x = x / x.norm(dim=-1, keepdim=True)
        eigenvalues, vectors = torch.linalg.eigh(kernel_matrix(self.kernel, x))
        z = torch.randn(num_prompts, self.n + 1, 1, generator=generator, dtype=torch.float64)
        y = (vectors @ (eigenvalues.abs().sqrt().unsqueeze(-1) * (vectors.mT @ z))).squeeze(-1).to(dtype)
        return Prompt(x.to(dtype), y, y[:, -1])

    def posterior_mean(self, prompt: Prompt) -> Tensor:
        r"""`[P]` best prediction of the query's label, :math:`k^\top K^{-1} y`, in float64."""
        K = self.gram(prompt.x.double())
        alpha = torch.linalg.solve(K[:, :-1, :-1], prompt.y[:, :-1, None].double())
        return (K[:, -1:, :-1] @ alpha)[:, 0, 0]


def kernel_matrix(kernel: str, x: Tensor) -> Tensor:
    """`[P, N, N]` kernel of samples `[P, N, d]`, one of :data:`KERNELS`.

    Example:
        >>> kernel_matrix("relu", torch.tensor([[[1.0], [-1.0]]])).tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    scores = x @ x.mT
    if kernel == "relu":
        return scores.relu()
    if kernel == "exp":
        return (scores / 2).exp()
    if kernel == "softmax":
        e = scores.exp()
        root = e.sum(-1, keepdim=True).sqrt()
        return e / (root * root.mT)
    if kernel == "comb":
        u, v = x[..., :COMBINED], x[..., COMBINED:]
        scores = (u @ u.mT / 2).exp() + v @ v.mT
    return scores + JITTER * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)


def polynomial_losses(prompt: Prompt, scores: Tensor, depths: tuple[int, ...]) -> list[float]:
    r"""Mean squared error of the best instance-independent polynomial of a kernel, for every depth.

    After `l` layers without moving samples the prediction is :math:`k^\top q(K)\, y` with `q` of degree `l - 1`; the
    best coefficients solve a linear least-squares problem.

    Args:
        prompt: prompts with targets, float64.
        scores: `[P, N, N]` what the attention computes, the kernel of its activation.
        depths: numbers of layers.

    Raises:
        ValueError: the prompts have no targets.

    Example:
        >>> task = GaussianProcessPrompt("relu", n=6)
        >>> prompt = task.sample(500, torch.Generator().manual_seed(0), torch.float64)
        >>> losses = polynomial_losses(prompt, kernel_matrix("relu", prompt.x), (1, 3))
        >>> losses[0] > losses[1] > 0
        True
    """
    target = prompt.known_target().unsqueeze(1)
    K, k, v = scores[:, :-1, :-1], scores[:, -1:, :-1], prompt.y[:, :-1, None]
    features = []
    for _ in range(max(depths)):
        features.append((k @ v)[:, 0, 0])
        v = K @ v
    columns = torch.stack(features, 1)
    columns = columns / columns.norm(dim=0)
    out = []
    for depth in depths:
        c = torch.linalg.lstsq(columns[:, :depth], target, driver="gels").solution
        out.append(float((columns[:, :depth] @ c - target).square().mean()))
    return out
