"""Data sets of graphtf for GraphGym."""

from __future__ import annotations

from typing import Any

import torch
from torch_geometric.graphgym.register import register_loader

from graphtf.datasets import CSL


@register_loader("graphtf")
def load_graphtf(format: str, name: str, dataset_dir: str) -> Any:
    """Load a data set of the format `graphtf`.

    Args:
        format: `cfg.dataset.format`; for others nothing is loaded.
        name: `CSL` or `CSL-i` for fold `i` of five.
        dataset_dir: not used, the graphs are made on the spot.

    Returns:
        The data set with the indices of the three splits, or `None`.

    Raises:
        ValueError: there is no such data set or fold.

    Example:
        >>> load_graphtf("graphtf", "CSL-2", "")._data.test_graph_index.shape
        torch.Size([30])
    """
    if format != "graphtf":
        return None
    kind, _, fold = name.partition("-")
    if kind != "CSL" or (fold or "0") not in "01234":
        raise ValueError(f"the format 'graphtf' has the data sets CSL and CSL-0 ... CSL-4, but got {name!r}")
    dataset = CSL()
    for split, index in dataset.folds()[int(fold or 0)].items():
        dataset._data[f"{split}_graph_index"] = index
        dataset.slices[f"{split}_graph_index"] = torch.tensor([0, len(index)])
    dataset._data_list = None
    return dataset
