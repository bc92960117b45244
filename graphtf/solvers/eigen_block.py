r"""Block Krylov spaces of a symmetric operator: subspace iteration that keeps all of its memory, restarted.

A step applies the operator to the newest `b` vectors and makes the result orthogonal to all registers by inner products
(scores between them). With the basis `V` and what is left over, `F V = V H + X C`, so that Ritz pairs and their
residuals come from the small matrices `H` and `C`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from graphtf.solvers.sparse_inverse import Array

DEFICIENT = 1e-12  # directions that are shorter than this part of the operator's norm are rounding


class BlockKrylov:
    """A growing orthonormal basis with the operator's matrix in it.

    Several copies of a repeated eigenvalue, as many as a block has columns, enter at once. Where a step leaves nothing,
    random vectors go on, so that an invariant subspace does not end the search.

    Args:
        step: the product of the operator with `[n, b]` vectors.
        random: makes `[n, b]` vectors of the space that the operator maps to itself.
        width: number `b` of columns of a block.
        capacity: largest number of basis vectors.
        dimension: of that space.
        size: number of rows of `n` entries.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> step = lambda x: x * np.arange(1.0, 6.0)[:, None]
        >>> space = BlockKrylov(step, lambda b: rng.normal(size=(5, b)), width=2, capacity=5, dimension=5, size=5)
        >>> for _ in range(3):
        ...     space.grow()
        >>> theta, residuals, _ = space.ritz()
        >>> [round(float(value), 6) for value in theta], float(residuals.max()) < 1e-12
        ([5.0, 4.0, 3.0, 2.0, 1.0], True)

    Source: Zhou, Saad, "Block Krylov-Schur method for large symmetric eigenvalue problems", Numer. Algorithms 47, 2008.
    """

    def __init__(
        self,
        step: Callable[[Array], Array],
        random: Callable[[int], Array],
        width: int,
        capacity: int,
        dimension: int,
        size: int,
    ) -> None:
        self.step, self.random, self.width, self.dimension = step, random, width, dimension
        self.V = torch.empty(min(capacity, dimension), size, dtype=torch.float64)
        self.H = np.zeros((len(self.V), len(self.V)))
        self.size, self.scale = 0, 0.0
        self.first = 0  # vectors before this are not part of the Krylov space, which is orthogonal to them
        self.start()

    def start(self) -> None:
        """Go on from a random block, with the basis so far as a space that is left aside."""
        self.first = self.size
        self.block = torch.empty(self.V.shape[1], 0, dtype=torch.float64)
        self.coupling = np.zeros((0, self.size))
        fresh = self.step(self.random(self.width)) if self.size < self.dimension else self.random(0)
        self.block, _, _ = self._orthonormal(torch.from_numpy(fresh))
        self.coupling = np.zeros((self.block.shape[1], self.size))

    @property
    def full(self) -> bool:
        """Whether the next block does not fit any more."""
        return self.size + self.block.shape[1] > len(self.V)

    @property
    def exhausted(self) -> bool:
        """Whether the basis spans everything."""
        return self.size >= self.dimension

    def grow(self) -> None:
        """Take the next block into the basis and apply the operator to it."""
        b = self.block.shape[1]
        if b == 0:
            return
        low, high = self.size, self.size + b
        self.V[low:high] = self.block.t()
        image = torch.from_numpy(self.step(self.block.numpy()))
        self.size = high
        self.block, C, R = self._orthonormal(image)
        self.H[:high, low:high] = C
        self.H[low:high, :low] = C[:low].T
        self.coupling = np.zeros((self.block.shape[1], high))
        self.coupling[:, low:high] = R
        self.scale = max(self.scale, float(np.abs(np.diag(C[low:])).max()))

    def ritz(self, first: int = 0) -> tuple[Array, Array, Array]:
        """Ritz values in descending order, their residuals, and coefficients `[size - first, size - first]`.

        Args:
            first: leave out the basis vectors before this one.
        """
        H = self.H[first : self.size, first : self.size]
        theta, Y = np.linalg.eigh((H + H.T) / 2)
        theta, Y = theta[::-1].copy(), Y[:, ::-1].copy()
        return theta, np.linalg.norm(self.coupling[:, first:] @ Y, axis=0), Y

    def vectors(self, Y: Array) -> Tensor:
        """`[n, c]` combinations of all basis vectors by `[size, c]` coefficients."""
        return self.V[: self.size].t() @ torch.from_numpy(np.ascontiguousarray(Y))

    def restart(self, keep: int) -> None:
        """Reduce the basis, from `first` on, to its `keep` best Ritz vectors."""
        p, high = self.first, self.size
        keep = min(keep, high - p)
        theta, _, Y = self.ritz(p)
        Y = np.ascontiguousarray(Y[:, :keep])
        new = p + keep
        rows = torch.from_numpy(np.ascontiguousarray(Y.T))
        for at in range(0, self.V.shape[1], 1 << 14):  # pieces, so that no second basis is needed
            piece = self.V[p:high, at : at + (1 << 14)]
            self.V[p:new, at : at + (1 << 14)] = rows @ piece
        across = self.H[:p, p:high] @ Y
        self.H[p:high, :high] = self.H[:high, p:high] = 0.0
        self.H[p:new, p:new] = np.diag(theta[:keep])
        self.H[:p, p:new], self.H[p:new, :p] = across, across.T
        self.coupling = np.concatenate([self.coupling[:, :p], self.coupling[:, p:] @ Y], 1)
        self.size = new

    def _orthonormal(self, W: Tensor) -> tuple[Tensor, Array, Array]:
        """`Q`, `C`, `R` with `W = V C + Q R` and `[V Q]` orthonormal, as wide as a block while there is room."""
        V = self.V[: self.size]
        before = float((W.t() @ W).diagonal().max().sqrt()) if W.numel() else 0.0
        C = V @ W
        W = torch.addmm(W, V.t(), C, alpha=-1)
        Q, R, shortest = _split(W, DEFICIENT * max(before, self.scale))
        room = min(self.width, self.dimension - self.size)
        Q, R = Q[:, :room], R[:room]
        missing = room - Q.shape[1]
        if missing:
            Q = torch.cat([Q, torch.from_numpy(self.random(missing))], 1)
            R = torch.cat([R, R.new_zeros(missing, R.shape[1])])
        # What cancelled left rounding behind, in proportion to how short the rest was.
        clean = not missing and shortest > 0.03 * before
        for _ in range(5 if room else 0):
            D = V @ Q
            if clean and (not D.numel() or float(D.abs().max()) < 1e-11):
                break
            Q, T = _triangular(torch.addmm(Q, V.t(), D, alpha=-1))
            C, R = torch.addmm(C, D, R), T @ R
            turn = T - torch.eye(len(T), dtype=T.dtype)
            if max(float(x.abs().max()) if x.numel() else 0.0 for x in (D, turn)) < 1e-7:
                break  # another pass would only change the rounding
        return Q.contiguous(), C.numpy(), R.numpy()


def _split(W: Tensor, floor: float) -> tuple[Tensor, Tensor, float]:
    """`Q` and `R` with `W = Q R`, longest directions first, those below `floor` left out, and the shortest length."""
    columns, rows, shortest = [], [], 0.0
    rest, back = W, torch.eye(W.shape[1], dtype=W.dtype)
    while rest.shape[1]:
        square, U = torch.linalg.eigh(rest.t() @ rest)
        length, U = square.clamp(min=0).sqrt().flip(0), U.flip(1)
        if not float(length[0]) > floor:
            break
        # A Gram matrix knows lengths down to the root of the rounding: shorter ones take another round.
        good = length > max(1e-5 * float(length[0]), floor)
        shortest = float(length[good][-1])
        columns.append(rest @ (U[:, good] / length[good]))
        rows.append(length[good].unsqueeze(1) * (U[:, good].t() @ back))
        if bool(good.all()):
            break
        rest, back = rest @ U[:, ~good], U[:, ~good].t() @ back
    if not columns:
        return W[:, :0], W.new_zeros(0, W.shape[1]), 0.0
    return columns[0] if len(columns) == 1 else torch.cat(columns, 1), torch.cat(rows), shortest


def _triangular(Q: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns and `T` with `Q = new T`."""
    lower, info = torch.linalg.cholesky_ex(Q.t() @ Q)
    if int(info) or float(lower.diagonal().min()) < 1e-6 * float(lower.diagonal().max()):
        new, T = torch.linalg.qr(Q)
        return new, T
    return torch.linalg.solve_triangular(lower.t(), Q, upper=True, left=False), lower.t()
