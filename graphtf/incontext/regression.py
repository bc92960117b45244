"""Prompts of linear regression: random covariates, random true weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from graphtf.incontext.prompts import Prompt
from graphtf.validate import check_choice, check_positive_int

Covariates = Literal["normal", "sphere", "gamma"]
COVARIATES = ("normal", "sphere", "gamma")
CONVENTIONS = ("eigenvalues", "scales")


class InContextRegression:
    r"""Linear regression in context: :math:`y_j = x_j^\top w + \varepsilon_j`, another `w` in every prompt.

    .. math:: x = \Sigma^{1/2} z, \qquad w \sim N(0, \Sigma^{-1}), \qquad \Sigma = U \mathrm{diag}(s)\, U^\top
        \text{ or } U \mathrm{diag}(s^2)\, U^\top

    The literature writes the first covariance and its code samples :math:`x = U \mathrm{diag}(s)\, z`, which has the
    second: `s = (1, 1, 1/2, 1/4, 1)` means condition 4 or 16. `convention` says which.

    Args:
        d: dimension.
        n: number of demonstrations.
        spectrum: `d` positive numbers `s`; `None`: ones.
        convention: `"eigenvalues"` (`s` are those of the covariance) or `"scales"` (their square roots).
        rotate: draw the rotation `U` by `rotation_seed`; else `U = I`.
        rotation_seed: seed of `U`, the same for all prompts.
        covariates: distribution of `z`: `"normal"`; `"sphere"`: uniform, of length `sqrt(d)`; `"gamma"`:
            :math:`z = \sqrt{g}\, u`, `u` uniform of length 1, `g` of the gamma distribution with shape `shape` and mean
            `d`: heavy tails for small shapes, `shape = d / 2` is the normal distribution.
        shape: of that distribution.
        noise: standard deviation of the labels' noise.
        weights: `"inverse"`: :math:`w \sim N(0, \Sigma^{-1})`; `"identity"`: :math:`w \sim N(0, I)`.

    Raises:
        TypeError, ValueError: an option is not as described.

    Example:
        >>> import torch
        >>> task = InContextRegression(d=5, n=20)
        >>> prompt = task.sample(3, torch.Generator().manual_seed(0))
        >>> prompt.x.shape, prompt.y.shape, prompt.target.shape
        (torch.Size([3, 21, 5]), torch.Size([3, 21]), torch.Size([3]))

    Reference: Ahn, Cheng, Daneshmand, Sra, "Transformers learn to implement preconditioned gradient descent for
    in-context learning", NeurIPS 2023; heavy tails: Ahn et al., "Linear attention is (maybe) all you need", ICLR 2024.
    """

    def __init__(
        self,
        d: int = 5,
        n: int = 20,
        spectrum: Sequence[float] | None = None,
        convention: str = "eigenvalues",
        rotate: bool = False,
        rotation_seed: int = 0,
        covariates: Covariates = "normal",
        shape: float = 0.1,
        noise: float = 0.0,
        weights: str = "inverse",
    ) -> None:
        self.d, self.n = check_positive_int("d", d), check_positive_int("n", n)
        check_choice("covariates", covariates, COVARIATES)
        check_choice("convention", convention, CONVENTIONS)
        check_choice("weights", weights, ("inverse", "identity"))
        s = torch.ones(d, dtype=torch.float64) if spectrum is None else torch.tensor(spectrum, dtype=torch.float64)
        if s.shape != (d,) or not bool(((s > 0) & torch.isfinite(s)).all()):
            raise ValueError(f"spectrum must be {d} positive numbers, but is {spectrum}")
        for name, value in (("shape", shape), ("noise", noise)):
            if not math.isfinite(value) or value < 0 or (value == 0 and name == "shape"):
                raise ValueError(
                    f"{name} must be finite and {'positive' if name == 'shape' else 'at least 0'}: {value}"
                )
        self.covariates, self.shape, self.noise, self.weights = covariates, shape, noise, weights
        scales = s if convention == "scales" else s.sqrt()
        U = torch.eye(d, dtype=torch.float64)
        if rotate:
            square = torch.randn(d, d, generator=torch.Generator().manual_seed(rotation_seed), dtype=torch.float64)
            Q, R = torch.linalg.qr(square)
            U = Q * R.diagonal().sign()  # uniform over all rotations
        self.root = U * scales  # x = root z
        self.covariance = self.root @ self.root.T
        """`[d, d]` covariance, float64."""

    def sample(self, num_prompts: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Prompt:
        """Draw prompts, with the exact noiseless label of the query as target.

        Args:
            num_prompts: their number `P`.
            generator: source of all randomness.
            dtype: floating type.
        """
        check_positive_int("num_prompts", num_prompts)
        root = self.root.to(dtype)
        x = self._directions(num_prompts, generator, dtype) @ root.T
        w = torch.randn(num_prompts, self.d, 1, generator=generator, dtype=dtype)
        if self.weights == "inverse":
            w = torch.linalg.inv(self.root).T.to(dtype) @ w
        clean = (x @ w).squeeze(-1)
        y = clean
        if self.noise:
            y = clean + self.noise * torch.randn(clean.shape, generator=generator, dtype=dtype)
        return Prompt(x, y, clean[:, -1])

    def _directions(self, num_prompts: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        z = torch.randn(num_prompts, self.n + 1, self.d, generator=generator, dtype=dtype)
        if self.covariates == "normal":
            return z
        unit = z / z.norm(dim=-1, keepdim=True)
        if self.covariates == "sphere":
            return unit * math.sqrt(self.d)
        concentration = torch.full(z.shape[:2], self.shape, dtype=dtype)
        g = torch._standard_gamma(concentration, generator=generator) * (self.d / self.shape)
        return unit * g.sqrt().unsqueeze(-1)
