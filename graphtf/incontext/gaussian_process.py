"""Prompts of Gaussian processes: labels that are jointly normal with a kernel as covariance."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from graphtf.incontext.prompts import Prompt
from graphtf.validate import check_choice, check_positive_int

Kernel = Literal["linear", "relu", "exp"]
KERNELS = ("linear", "relu", "exp")
JITTER = 1e-8  # of the linear kernel, whose matrices are singular for n > d


class GaussianProcessPrompt:
    r"""Samples on the unit sphere with labels :math:`(y_1, \dots, y_{n + 1}) \sim N(0, K)`.

    .. math:: K_{ij} = x_i^\top x_j, \qquad \mathrm{relu}(x_i^\top x_j), \qquad \exp(x_i^\top x_j / 2)

    The second is not positive semidefinite. As in the paper's code, the absolute values of its eigenvalues are those of
    the covariance, which for the other two is `K` itself.

    Args:
        kernel: which of them.
        n: number of demonstrations.
        d: dimension of a sample.

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
        self.n, self.d = check_positive_int("n", n), check_positive_int("d", d)

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
    if kernel == "linear":
        return scores + JITTER * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return scores.relu() if kernel == "relu" else (scores / 2).exp()


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
