"""A transformer that learns in context: layers of the core, run on prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphtf.attention import Layer, StructuredAttention
from graphtf.incontext.build import count_trained, warn_divergence
from graphtf.incontext.prompts import Prompt
from graphtf.transformer import LinearTransformer, LiteralTransformer


class InContextTransformer(nn.Module):
    r"""Layers of linear attention on the samples of a prompt, which predict the label of its query.

    Register `residual` starts at the labels, zero at queries; a layer that runs an algorithm leaves there
    :math:`y_j - f_l(x_j)` of demonstrations and :math:`-f_l(x_j)` of queries, for the estimate :math:`f_l` after `l`
    steps. So the prediction is minus what is left at the query. Models come from :func:`linear_transformer`,
    :func:`memformer` and :func:`kernel_transformer`.

    Args:
        layers: the layers, first to last.
        registers: names of the registers, `residual` among them.

    Raises:
        ValueError: there is no register `residual`, or a layer has another number of registers.

    Example:
        >>> import torch
        >>> from graphtf.incontext import InContextRegression, linear_transformer
        >>> prompt = InContextRegression(d=2, n=8).sample(4, torch.Generator().manual_seed(0))
        >>> linear_transformer(d=2, num_layers=3)(prompt).shape
        torch.Size([4])
    """

    def __init__(self, layers: Sequence[Layer], registers: Sequence[str]) -> None:
        super().__init__()
        self.transformer = LinearTransformer(layers, registers, readout="residual")

    @property
    def samples_are_registers(self) -> bool:
        """Whether the entries of a sample are registers `x0`, `x1` ... that layers attend to and change."""
        return self.transformer.registers[0] == "x0"

    @property
    def num_layers(self) -> int:
        """Depth."""
        return self.transformer.num_layers

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters."""
        return count_trained(self)

    def forward(self, prompt: Prompt, *, return_all: bool = False) -> Tensor:
        """Predict the label of the last sample of every prompt.

        Args:
            prompt: the prompts.
            return_all: also predict before the first and after every layer.

        Returns:
            `[P]` (`[P, k]` for labels of `k` columns); with `return_all` `[L + 1, P]`.

        Raises:
            ValueError: samples have another width than the layers.

        Warns:
            RuntimeWarning: the layers diverge on these prompts.
        """
        return -self.residuals(prompt, return_all=return_all).select(2 if return_all else 1, -1)

    def residuals(self, prompt: Prompt, *, return_all: bool = False) -> Tensor:
        """The register `residual` of all samples, `[P, N]` (or `[P, N, k]`); with `return_all` `[L + 1, P, N]`."""
        self._check_width(prompt)
        labels = prompt.labels()
        flat = labels.dim() == 2
        start = labels.unsqueeze(-1) if flat else labels  # [P, N, k]
        at = self.transformer.registers.index("residual")
        state = start.new_zeros(*start.shape[:2], len(self.transformer.registers), start.shape[2])
        state[:, :, at] = start
        if self.samples_are_registers:
            state[:, :, :at] = prompt.x.unsqueeze(-1)
        states = self.transformer.run(prompt.layout(), state, last_only=not return_all)
        warn_divergence(states[-1][:, :, at], state, self.num_layers)
        out = torch.stack([s[:, :, at] for s in states])
        out = out.squeeze(-1) if flat else out
        return out if return_all else out[0]

    def _check_width(self, prompt: Prompt) -> None:
        if not isinstance(prompt, Prompt):
            raise TypeError(f"expected a graphtf.incontext.Prompt, but got {type(prompt).__name__}")
        width = len(self.transformer.registers) - 1
        if self.samples_are_registers and prompt.x.shape[2] != width:
            raise ValueError(f"samples have {prompt.x.shape[2]} numbers, but the model is made for d={width}")
        for i, layer in enumerate(self.transformer.layers):
            data = getattr(layer, "data", None)
            if data is not None and data.shape[-1] != prompt.x.shape[2]:
                raise ValueError(
                    f"samples have {prompt.x.shape[2]} numbers, but layer {i} is made for d={data.shape[-1]}"
                )

    def literal(self, d: int, dtype: torch.dtype = torch.float64) -> LiteralTransformer:
        """The literal twin on tokens `Z = [X | registers]` with one column of labels; run it with `keys`.

        Args:
            d: number of entries of a sample; 0 if they are registers.
            dtype: floating type of the weights.

        Example:
            >>> import torch
            >>> from graphtf.incontext import InContextRegression, linear_transformer
            >>> prompt = InContextRegression(d=2, n=8).sample(1, torch.Generator().manual_seed(0), torch.float64)
            >>> model = linear_transformer(d=2, num_layers=3).double()
            >>> twin = model.literal(2)(prompt.tokens()[0], keys=prompt.is_key())
            >>> torch.allclose(-twin[-1, 2], model(prompt)[0])
            True
        """
        return self.transformer.literal(d, 1, dtype)

    def effective_steps(self) -> Tensor:
        """`[L]` mean of the diagonal of every layer's preconditioner times its step: step sizes, if it were a multiple.

        Raises:
            TypeError: a layer is of another kind.
        """
        steps = []
        at = self.transformer.registers.index("residual")
        for layer in self.transformer.stack:
            steps.append(_mean_step(layer, at))
        return torch.stack(steps)


def _mean_step(layer: StructuredAttention, at: int) -> Tensor:
    value = -(layer.laplacian * layer.value[:, at, at, 0])  # [H]
    if layer.data is None:
        return value.sum()
    return (value * layer.data.diagonal(dim1=1, dim2=2).mean(1)).sum()
