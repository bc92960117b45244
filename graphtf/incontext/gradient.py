"""Preconditioned gradient descent in context: linear transformers on prompts of linear regression."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphtf.attention import Layer, StructuredAttention
from graphtf.incontext.build import initial_maps, prompt_layer
from graphtf.incontext.model import InContextTransformer
from graphtf.validate import check_choice, check_positive_int

SPARSITIES = ("a", "ab", "full")


def linear_transformer(
    d: int, num_layers: int, heads: int = 1, sparsity: str = "ab", std: float = 0.05, seed: int = 0
) -> InContextTransformer:
    r"""A linear transformer with small random weights, to be trained on prompts.

    With `sparsity="a"` a layer is a step of preconditioned gradient descent on the demonstrations' squared error,

    .. math:: r \leftarrow r - \tfrac1n X A_l X_{dem}^\top r_{dem}
        \quad\Longleftrightarrow\quad w_{l+1} = w_l - A_l \nabla R(w_l), \quad
        R(w) = \tfrac{1}{2 n} \sum_i (x_i^\top w - y_i)^2 .

    With `"ab"` samples move as well (GD++), :math:`X \leftarrow X - \tfrac1n X A_l X_{dem}^\top X_{dem} B_l^\top`. With
    `"full"` all of :math:`P, Q \in \mathbb{R}^{(d + 1) \times (d + 1)}` is free:
    :math:`Z \leftarrow Z + \tfrac1n Z Q Z_{dem}^\top Z_{dem} P^\top` on tokens :math:`(x_j, y_j)`.

    Args:
        d: dimension of a sample.
        num_layers: depth.
        heads: heads, whose steps are summed.
        sparsity: which weights there are.
        std: standard deviation of the weights at the start.
        seed: seed of them.

    Returns:
        A model with registers `residual`, for `"full"` `x0 ... residual`.

    Raises:
        TypeError, ValueError: an option is not as described.

    Example:
        >>> model = linear_transformer(d=5, num_layers=2, sparsity="a")
        >>> model.num_parameters
        50

    Reference: Ahn, Cheng, Daneshmand, Sra, "Transformers learn to implement preconditioned gradient descent for
    in-context learning", NeurIPS 2023.
    """
    for name, count in (("d", d), ("num_layers", num_layers), ("heads", heads)):
        check_positive_int(name, count)
    check_choice("sparsity", sparsity, SPARSITIES)
    generator = torch.Generator().manual_seed(seed)
    if sparsity == "full":
        return _full(d, num_layers, heads, std, generator)
    layers = []
    for _ in range(num_layers):
        A = initial_maps((heads, d, d), std, generator)
        B = initial_maps((heads, d, d), std, generator) if sparsity == "ab" else None
        layers.append(_step(A, B))
    return InContextTransformer(layers, ("residual",))


def gradient_descent_transformer(
    preconditioners: Sequence[Tensor], moves: Sequence[Tensor] | None = None
) -> InContextTransformer:
    r"""The weights that run preconditioned gradient descent, or GD++, with given matrices.

    Args:
        preconditioners: `[d, d]` matrices :math:`A_l` (a multiple of the identity is a step size).
        moves: `[d, d]` matrices :math:`B_l`; `None`: samples stay.

    Returns:
        A model whose weights do not ask for gradients (`.requires_grad_()` makes them trainable).

    Raises:
        ValueError: the matrices are none, or not square and of one size.

    Example:
        >>> import torch
        >>> from graphtf.incontext import Prompt
        >>> prompt = Prompt(torch.tensor([[[1.0], [1.0], [2.0]]]), torch.tensor([[3.0, 3.0, 0.0]]))
        >>> gradient_descent_transformer([torch.eye(1)])(prompt).tolist()  # w = 3 after one step
        [6.0]
    """
    shapes = [list(A.shape) for A in [*preconditioners, *(moves or [])]]
    if not shapes or any(len(s) != 2 or s[0] != s[1] or s != shapes[0] for s in shapes):
        raise ValueError(f"preconditioners and moves must be square matrices [d, d] of one size, but have {shapes}")
    if moves is not None and len(moves) != len(preconditioners):
        raise ValueError(f"there are {len(preconditioners)} preconditioners, but {len(moves)} moves")
    Bs: Sequence[Tensor | None] = [None] * len(preconditioners) if moves is None else moves
    layers = [
        _step(A.detach().clone().unsqueeze(0), None if B is None else B.detach().clone().unsqueeze(0))
        for A, B in zip(preconditioners, Bs, strict=True)
    ]
    return InContextTransformer(layers, ("residual",)).requires_grad_(False)


def one_layer_optimum(covariance: Tensor, n: int) -> tuple[Tensor, float]:
    r"""Best preconditioner of one layer and its loss, for :math:`x \sim N(0, \Sigma)`, :math:`w \sim N(0, I)`.

    .. math:: A = U \mathrm{diag}(a)\, U^\top, \quad
        a_i = \frac{1}{\frac{n + 1}{n} \lambda_i + \frac1n \sum_k \lambda_k}, \qquad
        \mathrm{loss} = \sum_i \lambda_i (1 - \lambda_i a_i)

    Args:
        covariance: `[d, d]` :math:`\Sigma = U \mathrm{diag}(\lambda)\, U^\top`.
        n: number of demonstrations.

    Example:
        >>> import torch
        >>> A, loss = one_layer_optimum(torch.eye(5, dtype=torch.float64), 20)
        >>> round(float(A[0, 0]), 5), round(loss, 5)
        (0.76923, 1.15385)
    """
    eigenvalues, U = torch.linalg.eigh(covariance)
    a = 1 / ((n + 1) / n * eigenvalues + eigenvalues.sum() / n)
    return U * a @ U.mT, float((eigenvalues * (1 - eigenvalues * a)).sum())


def _step(A: Tensor, B: Tensor | None) -> Layer:
    entry = ("residual", "residual")
    move = None if B is None else -B.mT
    return prompt_layer(("residual",), {entry: -1.0}, {}, data=A, heads=len(A), dtype=A.dtype, move=move)


def _full(d: int, num_layers: int, heads: int, std: float, generator: torch.Generator) -> InContextTransformer:
    p = d + 1
    layers: list[Layer] = []
    for _ in range(num_layers):
        layer = StructuredAttention(
            laplacian=torch.zeros(heads),
            value=initial_maps((heads, p, p, 1), std, generator),
            skip=torch.zeros(p, p, 1),
            score=initial_maps((heads, p, p, 1), std, generator),
        )
        layer.laplacian.requires_grad_(False)
        layer.skip.requires_grad_(False)
        layers.append(layer)
    return InContextTransformer(layers, (*(f"x{i}" for i in range(d)), "residual"))
