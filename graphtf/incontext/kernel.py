"""Functional gradient descent in context: attention with a kernel as activation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from graphtf.activation import Activation, check_activations
from graphtf.attention import Layer
from graphtf.incontext.build import prompt_layer
from graphtf.incontext.model import InContextTransformer
from graphtf.validate import check_positive_int


def kernel_transformer(
    d: int,
    num_layers: int,
    kernels: Sequence[Activation] = ("relu",),
    step: float | Sequence[float] = 1.0,
    learn_maps: bool = True,
    dtype: torch.dtype = torch.float32,
) -> InContextTransformer:
    r"""A transformer whose layers are steps of gradient descent on a function, in the space of a kernel.

    .. math:: r_j \leftarrow r_j - \frac{s_l}{n} \sum_i \mathrm{act}(x_j^\top A_l x_i)\, r_i
        \quad\Longleftrightarrow\quad f_{l+1} = f_l + \frac{s_l}{n} \sum_i (y_i - f_l(x_i))\, K(\cdot, x_i)

    which is Richardson's iteration for :math:`K \alpha = y`. The softmax gives the step normalised as by Nadaraya and
    Watson, without `1 / n`. Several kernels are heads, whose steps are summed.

    Args:
        d: dimension of a sample.
        num_layers: depth.
        kernels: one activation a head: `"id"`, `"relu"`, `"exp"`, `"softmax"` or a function of the scores.
        step: the steps `s` at the start, one number or one a layer, shared among the heads. Equal steps are a saddle
            of training, which is symmetric in the layers.
        learn_maps: train `A`, which starts at the identity; else it stays there, and only steps are trained.
        dtype: floating type of the weights.

    Returns:
        A model with the register `residual`.

    Raises:
        TypeError, ValueError: an option is not as described.

    Example:
        >>> from graphtf.incontext import Prompt
        >>> prompt = Prompt(torch.tensor([[[1.0], [1.0], [2.0]]]), torch.tensor([[3.0, 3.0, 0.0]]))
        >>> kernel_transformer(1, 1, ("relu",))(prompt).tolist()
        [6.0]

    Reference: Cheng, Chen, Sra, "Transformers implement functional gradient descent to learn non-linear functions in
    context", ICML 2024.
    """
    check_positive_int("d", d)
    check_positive_int("num_layers", num_layers)
    heads = len(kernels)
    acts = check_activations(kernels, heads)
    entry = ("residual", "residual")
    layers: list[Layer] = []
    for s in _steps(step, num_layers):
        data = torch.eye(d, dtype=dtype).repeat(heads, 1, 1) if learn_maps else None
        value = {entry: -s / max(heads, 1)}
        trained = frozenset({("value", entry)})
        layers.append(prompt_layer(("residual",), value, {}, trained, data, heads, dtype, act=acts))
    return InContextTransformer(layers, ("residual",))


def _steps(step: float | Sequence[float], num_layers: int) -> list[float]:
    steps = [*step] if isinstance(step, Sequence) else [step] * num_layers
    if len(steps) != num_layers:
        raise ValueError(f"step must be one number, or one for each of the {num_layers} layers, but got {step!r}")
    return [float(s) for s in steps]
