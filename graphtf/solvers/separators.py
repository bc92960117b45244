"""Whether a graph can be cut into equal parts by few nodes, so that a sparse factor of its Laplacian stays sparse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def has_small_separators(L: Any) -> bool:
    """Whether a sparse factor stays sparse: the front of the Cuthill-McKee order, leaves removed, is like a mesh's.

    Example:
        >>> import scipy.sparse
        >>> has_small_separators(scipy.sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(100, 100)).tocsr())
        True
    """
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    for _ in range(100):  # trees shrink to their trunk
        keep = np.diff(L.indptr) > 2
        if keep.mean() > 0.99 or not keep.any():
            break
        L = L[keep][:, keep]
    n = L.shape[0]
    if n == 0:
        return True
    order = reverse_cuthill_mckee(L, symmetric_mode=True)
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    entries = L.tocoo()
    front = np.arange(n)
    np.minimum.at(front, place[entries.row], place[entries.col])
    return float((np.arange(n) - front).mean()) <= 4 * math.sqrt(n) + 16
