"""Pre-training of the paper's encoding on the molecules that a model is about to be trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from graphtf.files import write_atomically
from graphtf.nn import LinearTransformerPE, pretrain_to_eigenvectors
from graphtf.train.encoding_options import DEFAULTS, parse_encoding
from graphtf.train.encodings import linear_transformer_in
from graphtf.weights import read_tensors, write_tensors


def pretrain_encoding(
    encoding: nn.Module | None, pe: str, graphs: Sequence[Any], cache: Path, progress: bool = False
) -> list[float]:
    """Train the encoding `release` to eigenvectors; leave others as they are.

    The weights are kept in `cache` by the configuration of the encoder (its seed among it) and the edges of all graphs,
    so that the same run finds them again.

    Args:
        encoding: what :func:`graphtf.train.encodings.build_encoding` gives; trained in place.
        pe: its name and options; `release:pretrain=20` means 20 epochs in place of the paper's 120, 0 none.
        graphs: the training graphs.
        cache: folder of cached data.
        progress: show a bar.

    Returns:
        The loss of every epoch; nothing if the weights were found, or there is nothing to train.

    Raises:
        ValueError: the file in the cache is damaged, or a graph has more nodes than the encoder has slots.
    """
    name, options = parse_encoding(pe)
    epochs = (DEFAULTS[name] | options).get("pretrain", 0)
    encoder = linear_transformer_in(encoding)
    if encoder is None or not epochs:
        return []
    largest = max(int(graph.num_nodes) for graph in graphs)
    if largest > encoder.config.num_slots:
        raise ValueError(
            f"a molecule has {largest} atoms, but the encoder num_slots={encoder.config.num_slots}; use "
            f"pe='release:num_slots={largest}'"
        )
    path = cache / "release" / f"{_key(encoder, epochs, graphs)}.safetensors"
    if path.is_file():
        encoder.load_state_dict(read_tensors(path))
        return []
    bar = tqdm(total=epochs, desc="pre-training to eigenvectors", unit="epoch", leave=False, disable=not progress)

    def step(epoch: int, loss: float) -> None:
        bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        bar.update()

    with bar:
        losses = pretrain_to_eigenvectors(encoder, graphs, epochs=epochs, seed=encoder.config.seed, progress=step)
    write_atomically(path, lambda p: write_tensors(p, encoder.state_dict()))
    return losses


def _key(encoder: LinearTransformerPE, epochs: int, graphs: Sequence[Any]) -> str:
    known = hashlib.sha256(json.dumps([encoder.config.to_dict(), epochs]).encode())
    for graph in graphs:
        known.update(f"{graph.num_nodes} {graph.edge_index.shape[1]} ".encode())
        known.update(graph.edge_index.contiguous().numpy().tobytes())
    return known.hexdigest()[:24]
