r"""One layer of a linear transformer, in two forms that compute the same thing.

:class:`LinearAttention` is the literal layer on tokens `Z = [B | registers]`, with explicit Q, K, V and R.
:class:`StructuredAttention` has parameters that do not depend on `n` or `m`, works on the incidence operator of a whole
batch, and exports its literal twin.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from graphtf.layout import Layout, PaddedLayout

Norm = Literal["none", "column", "gram_schmidt"]
NORMS: tuple[Norm, ...] = ("none", "column", "gram_schmidt")


def rank_tolerance(dtype: torch.dtype) -> float:
    """Length below which what Gram-Schmidt leaves of a unit column is rounding, and is set to zero."""
    return 1e3 * torch.finfo(dtype).eps


class LinearAttention(nn.Module):
    r"""Literal linear attention layer on a token matrix, one token a node.

    .. math:: Z \leftarrow \mathrm{norm}\Bigl(Z + \sum_h (Z Q_h K_h^\top Z^\top) (Z V_h) + Z R\Bigr)

    There is no softmax. Tokens of different graphs do not see each other: `batch` masks the score.

    Args:
        query, key: `[H, d, r]` maps of the `H` heads, `d` the token width.
        value: `[H, d, d]` maps.
        skip: `[d, d]` linear skip `R`.
        unit: `[d]` booleans, the columns that are divided by their Euclidean length, graph by graph.
        threshold: a column shorter than this becomes zero instead.
        unit_block: the first so many columns are divided by their common Frobenius norm, graph by graph.

    Shapes:
        tokens `[n, d]`, batch `[n]` or `None` -> tokens `[n, d]`.

    Example:
        >>> import torch
        >>> B = torch.tensor([[1.0], [-1.0]])  # one edge
        >>> layer = LinearAttention(  # with Q K^T = diag(1, 0) the score is the Laplacian
        ...     query=torch.tensor([[[1.0], [0.0]]]), key=torch.tensor([[[1.0], [0.0]]]),
        ...     value=torch.tensor([[[0.0, 0.0], [0.0, -0.5]]]), skip=torch.zeros(2, 2))
        >>> layer(torch.cat([B, torch.tensor([[1.0], [0.0]])], dim=1))[:, 1].tolist()
        [0.5, 0.5]

    Reference: Cheng, Carin, Sra, ICLR 2025, equation (1).
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        skip: Tensor,
        unit: Tensor | None = None,
        threshold: float = 0.0,
        unit_block: int = 0,
    ) -> None:
        super().__init__()
        width = skip.shape[0]
        if skip.shape != (width, width) or value.shape[1:] != (width, width):
            raise ValueError(
                f"skip and every value map must be [d, d], but have shapes {list(skip.shape)} and {list(value.shape)}"
            )
        if query.shape != key.shape or query.shape[:2] != value.shape[:2]:
            raise ValueError(
                f"query and key must both be [H, d, r] with the H and d of value {list(value.shape)}, but have shapes "
                f"{list(query.shape)} and {list(key.shape)}"
            )
        self.query, self.key, self.value = nn.Parameter(query), nn.Parameter(key), nn.Parameter(value)
        self.skip = nn.Parameter(skip)
        self.register_buffer("unit", torch.zeros(width, dtype=torch.bool) if unit is None else unit)
        self.unit: Tensor
        self.threshold, self.unit_block = threshold, unit_block

    def forward(self, tokens: Tensor, batch: Tensor | None = None) -> Tensor:
        """Apply the layer to `[n, d]` tokens; `batch` `[n]` keeps graphs apart."""
        if tokens.dim() != 2 or tokens.shape[1] != self.skip.shape[0]:
            raise ValueError(f"tokens must have shape [n, {self.skip.shape[0]}], but have {list(tokens.shape)}")
        batch = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device) if batch is None else batch
        same = (batch[:, None] == batch[None, :]).to(tokens.dtype)  # [n, n]
        out = tokens + tokens @ self.skip.to(tokens.dtype)
        for query, key, value in zip(self.query, self.key, self.value, strict=True):
            score = (tokens @ query.to(tokens.dtype)) @ (tokens @ key.to(tokens.dtype)).t()
            out = out + (score * same) @ (tokens @ value.to(tokens.dtype))
        if bool(self.unit.any()):
            length = _safe_sqrt(same @ out.square())
            out = torch.where(self.unit, unit_or_zero(out, length, self.threshold), out)
        if self.unit_block:
            block = out[:, : self.unit_block]
            length = _safe_sqrt(same @ block.square().sum(1, keepdim=True))
            out = torch.cat([unit_or_zero(block, length, 0.0), out[:, self.unit_block :]], dim=1)
        return out

    def extra_repr(self) -> str:
        """Heads and width."""
        return f"heads={self.value.shape[0]}, width={self.skip.shape[0]}"


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
        \Phi_b \leftarrow \mathrm{norm}\Bigl(\Phi_b + \sum_h S_h \sum_a \Phi_a V_{hab} + \sum_a \Phi_a R_{ab}\Bigr),
        \qquad S_h = \beta_h B B^\top + \gamma_h I + \sum_{ab} \Phi_a A_{hab} \Phi_b^\top

    `\Phi_a` is register `a`, `[n, k]`. Every weight is a number or, per channel, a diagonal of `k` numbers; so the same
    layer serves any number of columns unless it is per channel. With `update` the operator itself moves:
    `B \leftarrow B + R_B B + S_B B`, then divided by its Frobenius norm, `S_B` a score like the others.

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
        self.norm = norm
        self.laplacian, self.value, self.skip = nn.Parameter(laplacian), nn.Parameter(value), nn.Parameter(skip)
        for name, weight in [
            ("identity", identity),
            ("score", score),
            ("update", update),
            ("update_score", update_score),
        ]:
            self.register_parameter(name, None if weight is None else nn.Parameter(weight))
        self.identity: nn.Parameter | None
        self.score: nn.Parameter | None
        self.update: nn.Parameter | None
        self.update_score: nn.Parameter | None

    @property
    def num_registers(self) -> int:
        """Number `p` of registers."""
        return self.skip.shape[0]

    @property
    def is_polynomial(self) -> bool:
        """Whether the layer maps registers linearly, by polynomials in `L` with numbers as coefficients."""
        channels = max(self.value.shape[-1], self.skip.shape[-1])
        return self.score is None and self.update is None and self.norm == "none" and channels == 1

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
            attended = self.laplacian[h].to(dtype) * layout.laplacian(v)
            if self.identity is not None:
                attended = attended + self.identity[h].to(dtype) * v
            if self.score is not None:
                attended = attended + layout.attend(
                    registers.flatten(-2), _mix(registers, _transposed(self.score[h].to(dtype))).flatten(-2), v
                )
            out = out + attended.view_as(registers)
        if self.norm != "none":
            out = _unit_columns(layout, out, torch.finfo(dtype).tiny)
        if self.norm == "gram_schmidt":
            out = _gram_schmidt(layout, out)
        return self._updated(layout, registers), out

    def _updated(self, layout: Layout, registers: Tensor) -> Layout:
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

    def extra_repr(self) -> str:
        """Heads, registers and what the layer does besides."""
        parts = [f"heads={self.value.shape[0]}", f"registers={self.value.shape[1]}", f"norm={self.norm!r}"]
        parts += [name for name in ("identity", "score", "update") if getattr(self, name) is not None]
        return ", ".join(parts)


def unit_or_zero(x: Tensor, length: Tensor, threshold: float) -> Tensor:
    """`x / length` where `length` exceeds `threshold`, else zero; safe for gradients."""
    keep = length > threshold
    return torch.where(keep, x / torch.where(keep, length, torch.ones_like(length)), torch.zeros_like(x))


def _mix(registers: Tensor, weight: Tensor) -> Tensor:
    """`out[b] = sum_a registers[a] weight[a, b]`, channel by channel: `[*, p, k], [p, p, c] -> [*, p, k]`."""
    if weight.shape[0] == 1:
        return registers * weight[0]
    return (registers.unsqueeze(-2) * weight).sum(-3)


def _transposed(weight: Tensor) -> Tensor:
    return weight.transpose(0, 1)


def _safe_sqrt(x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).sqrt(), 0.0)


def _unit_columns(layout: Layout, x: Tensor, threshold: float) -> Tensor:
    return unit_or_zero(x, _safe_sqrt(layout.inner(x, x)), threshold)


def _gram_schmidt(layout: Layout, x: Tensor) -> Tensor:
    """Orthonormal columns of every register, from unit columns; two passes, so that rounding does not matter."""
    columns: list[Tensor] = []
    for column in x.unbind(-1):  # [*, p]
        rest = column.unsqueeze(-1)
        if columns:
            basis = torch.stack(columns, -1)  # [*, p, i]
            for _ in range(2):
                rest = rest - (basis * layout.inner(basis, rest.expand_as(basis))).sum(-1, keepdim=True)
        columns.append(_unit_columns(layout, rest, rank_tolerance(x.dtype)).squeeze(-1))
    return torch.stack(columns, -1)
