r"""One layer of a linear transformer: what all layers share, and attention on the registers of a batch.

:class:`StructuredAttention` has parameters that do not depend on `n` or `m`, works on the incidence operator of a whole
batch, and exports its literal twin, :class:`graphtf.literal_attention.LinearAttention` with explicit Q, K, V and R.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from graphtf.activation import Activation, check_activations
from graphtf.layout import Layout, PaddedLayout
from graphtf.norms import gram_schmidt, unit_columns
from graphtf.prompt_layout import PromptLayout

Norm = Literal["none", "column", "gram_schmidt"]
NORMS: tuple[Norm, ...] = ("none", "column", "gram_schmidt")


class Layer(nn.Module):
    """Part of a :class:`graphtf.LinearTransformer`; `forward(layout, registers)` maps `[*, p, k]` and returns both."""

    @property
    def num_registers(self) -> int:
        """Number `p` of registers that the layer maps."""
        raise NotImplementedError

    @property
    def is_polynomial(self) -> bool:
        """Whether the layer maps registers linearly, by polynomials in `L` with numbers as coefficients."""
        return False


class StructuredAttention(Layer):
    r"""Linear attention whose parameters depend neither on the number of nodes nor on that of edges.

    .. math::
        \Phi_b \leftarrow \mathrm{norm}\Bigl(\mathrm{prox}\Bigl(\Phi_b + \sum_h S_h \sum_a \Phi_a V_{hab}
        + \sum_a \Phi_a R_{ab}\Bigr)\Bigr), \qquad
        S_h = \beta_h\, \mathrm{act}_h(B D_h B^\top) + \gamma_h I + \sum_{ab} \Phi_a A_{hab} \Phi_b^\top

    `\Phi_a` is register `a`, `[n, k]`. Every weight is a number or, per channel, a diagonal of `k` numbers; so the same
    layer serves any number of columns unless it is per channel. With `update` the operator itself moves:
    `B \leftarrow B + R_B B + S_B B`, then divided by its Frobenius norm, `S_B` a score like the others.

    On a graph `D = I` and `act` is the identity. On prompts (:class:`graphtf.prompt_layout.PromptLayout`) the samples,
    rows `x_i` in `d` dimensions, take the place of the rows of `B`; there `D` are learned maps, kernels can be
    activations, and `move` lets the samples move: :math:`X \leftarrow X + \sum_h S_h X M_h` (with
    :math:`S_h = \mathrm{act}_h(X D_h X^\top)`).

    Args:
        laplacian: `[H]` coefficients :math:`\beta`.
        value: `[H, p, p, c]` maps `V` with `c` 1 or the number of columns `k`.
        skip: `[p, p, c]` map `R`.
        identity: `[H]` coefficients :math:`\gamma`; `None` means none.
        score: `[H, p, p, c]` register scores `A`; `None` means that registers do not attend to each other.
        norm: `"none"`; `"column"`: every column of every register gets unit length, graph by graph; `"gram_schmidt"`:
            the columns of each register are made orthonormal, a dependent column becomes zero.
        update: `[2]` coefficients `(R_B, beta_B)` of the update of the operator; `None` keeps it.
        update_score: `[p, p, c]` register score in the update.
        data: `[H, d, d]` maps `D`, for prompts of `d` dimensions; `None` means the identity.
        act: activation of every head's data score, see :func:`graphtf.activation.masked_scores`; `None` means none.
        move: `[H, d, d]` maps `M`; `None` keeps the samples.
        prox: a module that maps the registers `[*, p, k]` before the norm.

    Shapes:
        layout, registers `[*, p, k]` -> layout, registers `[*, p, k]`.

    Raises:
        ValueError: the weights do not fit each other.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> from graphtf.layout import SparseLayout
        >>> B = Incidence(torch.tensor([[0], [1]]))  # one edge
        >>> step = StructuredAttention(
        ...     laplacian=torch.ones(1), value=torch.full((1, 1, 1, 1), -0.5), skip=torch.zeros(1, 1, 1))
        >>> step(SparseLayout(B), torch.tensor([[[1.0]], [[0.0]]]))[1].flatten().tolist()  # (I - L / 2) x
        [0.5, 0.5]

    Reference: Cheng, Carin, Sra, ICLR 2025, section 5; Gram-Schmidt by attention as in their Lemma on subspace
    iteration.
    """

    def __init__(
        self,
        laplacian: Tensor,
        value: Tensor,
        skip: Tensor,
        identity: Tensor | None = None,
        score: Tensor | None = None,
        norm: Norm = "none",
        update: Tensor | None = None,
        update_score: Tensor | None = None,
        data: Tensor | None = None,
        act: Sequence[Activation] | None = None,
        move: Tensor | None = None,
        prox: nn.Module | None = None,
    ) -> None:
        super().__init__()
        heads, registers = value.shape[0], value.shape[1]
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(map(repr, NORMS))}, but got {norm!r}")
        for name, weight, shape in [
            ("laplacian", laplacian, (heads,)),
            ("identity", identity, (heads,)),
            ("value", value[..., 0], (heads, registers, registers)),
            ("skip", skip[..., 0], (registers, registers)),
            ("score", None if score is None else score[..., 0], (heads, registers, registers)),
            ("update", update, (2,)),
            ("update_score", None if update_score is None else update_score[..., 0], (registers, registers)),
        ]:
            if weight is not None and tuple(weight.shape) != shape:
                raise ValueError(f"{name} must have shape {list(shape)} (and channels), but has {list(weight.shape)}")
        if update_score is not None and update is None:
            raise ValueError("update_score needs update, the coefficients (R_B, beta_B)")
        for name, weight in (("data", data), ("move", move)):
            if weight is not None and (weight.dim() != 3 or weight.shape != (heads, weight.shape[2], weight.shape[2])):
                raise ValueError(f"{name} must have shape [{heads}, d, d], but has {list(weight.shape)}")
        self.act = check_activations(act, heads)
        self.prox = prox
        self.norm = norm
        self.laplacian, self.value, self.skip = nn.Parameter(laplacian), nn.Parameter(value), nn.Parameter(skip)
        for name, weight in [
            ("identity", identity),
            ("score", score),
            ("update", update),
            ("update_score", update_score),
            ("data", data),
            ("move", move),
        ]:
            self.register_parameter(name, None if weight is None else nn.Parameter(weight))
        self.identity: nn.Parameter | None
        self.score: nn.Parameter | None
        self.update: nn.Parameter | None
        self.update_score: nn.Parameter | None
        self.data: nn.Parameter | None
        self.move: nn.Parameter | None

    @property
    def num_registers(self) -> int:
        """Number `p` of registers."""
        return self.skip.shape[0]

    @property
    def is_polynomial(self) -> bool:
        """Whether the layer maps registers linearly, by polynomials in `L` with numbers as coefficients."""
        given = self._parameters  # many layers are asked in every step of training; attributes of modules are slow
        linear = all(given.get(name, 0) is None for name in ("score", "update", "data", "move"))
        channels = max(self.value.shape[-1], self.skip.shape[-1])
        return linear and channels == 1 and self.norm == "none" and self.prox is None and {*self.act} == {"id"}

    def forward(self, layout: Layout, registers: Tensor) -> tuple[Layout, Tensor]:
        """Apply the layer to `[*, p, k]` registers; returns the layout (with its new operator) and the registers."""
        dtype = registers.dtype
        for name, weight in (("value", self.value), ("skip", self.skip), ("score", self.score)):
            if weight is not None and weight.shape[-1] not in (1, registers.shape[-1]):
                raise ValueError(
                    f"{name} has weights for {weight.shape[-1]} columns, but the registers have {registers.shape[-1]}"
                )
        out = registers + _mix(registers, self.skip.to(dtype))
        for h, value in enumerate(self.value.to(dtype)):
            v = _mix(registers, value).flatten(-2)  # [*, p k]
            attended = self._attend_to_data(layout, h, v)
            if self.identity is not None:
                attended = attended + self.identity[h].to(dtype) * v
            if self.score is not None:
                attended = attended + layout.attend(
                    registers.flatten(-2), _mix(registers, _transposed(self.score[h].to(dtype))).flatten(-2), v
                )
            out = out + attended.view_as(registers)
        if self.prox is not None:
            out = self.prox(out)
        if self.norm != "none":
            out = unit_columns(layout, out, torch.finfo(dtype).tiny)
        if self.norm == "gram_schmidt":
            out = gram_schmidt(layout, out)
        return self._updated(layout, registers), out

    def _attend_to_data(self, layout: Layout, head: int, v: Tensor) -> Tensor:
        data = None if self.data is None else self.data[head].to(v.dtype)
        return self.laplacian[head].to(v.dtype) * layout.laplacian(v, data, self.act[head])

    def _updated(self, layout: Layout, registers: Tensor) -> Layout:
        if self.move is not None:
            if not isinstance(layout, PromptLayout):
                raise ValueError("samples of a prompt move; the operator of a graph is changed by `update`, not `move`")
            return self._moved(layout, self.move.to(layout.given))
        if self.update is None:
            return layout
        if not isinstance(layout, PaddedLayout):
            raise ValueError("a layer that updates the operator makes it dense; run it with layout='padded'")
        L, update = layout.laplacian_blocks, self.update.to(registers.dtype)
        # B <- (I + R_B I + S_B) B, so that L = B B^T <- M L M^T
        M = (1 + update[0]) * torch.eye(layout.size, dtype=L.dtype, device=L.device) + update[1] * L
        if self.update_score is not None:
            key = _mix(registers, _transposed(self.update_score.to(registers.dtype))).flatten(-2)
            M = M + torch.bmm(registers.flatten(-2), key.transpose(1, 2))
        L = M @ L @ M.transpose(1, 2)
        trace = L.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]  # squared Frobenius norm of B
        return layout.with_laplacian(torch.where(trace > 0, L / torch.where(trace > 0, trace, 1.0), 0.0))

    def _moved(self, layout: PromptLayout, maps: Tensor) -> PromptLayout:
        x = layout.given
        if {*self.act} != {"id"} or x.shape[2] > x.shape[1]:
            x = layout.x
            return layout.with_samples(x + sum(self._attend_to_data(layout, h, x @ M) for h, M in enumerate(maps)))
        S, change = layout.second_moment(), x.new_zeros(())  # X D X^T (X M) = X (D S M), with small factors first
        for h, M in enumerate(maps):
            attended = S if self.data is None else self.data[h].to(x) @ S
            change = change + self.laplacian[h].to(x) * (attended @ M)
        return layout.mapped(change)

    def extra_repr(self) -> str:
        """Heads, registers and what the layer does besides."""
        parts = [f"heads={self.value.shape[0]}", f"registers={self.value.shape[1]}", f"norm={self.norm!r}"]
        parts += [
            name for name in ("identity", "score", "update", "data", "move", "prox") if getattr(self, name) is not None
        ]
        return ", ".join(parts)


def _mix(registers: Tensor, weight: Tensor) -> Tensor:
    """`out[b] = sum_a registers[a] weight[a, b]`, channel by channel: `[*, p, k], [p, p, c] -> [*, p, k]`."""
    if weight.shape[0] == 1:
        return registers * weight[0]
    if registers.shape[-1] == 1:  # prompts: one product instead of a tensor of p times p
        return (registers.squeeze(-1) @ weight.squeeze(-1)).unsqueeze(-1)
    return (registers.unsqueeze(-2) * weight).sum(-3)


def _transposed(weight: Tensor) -> Tensor:
    return weight.transpose(0, 1)
