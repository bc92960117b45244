"""GraphGym plugins: import this module and the names below stand in PyG's registries.

- node and edge encoders `LinearTransformerPE` and `StoredPE`, with options `cfg.linear_transformer_pe` and
  `cfg.stored_pe` (:mod:`graphtf.graphgym.options`);
- data of the format `graphtf`: the name `CSL`, or `CSL-1` ... `CSL-4` for the other folds.

Import it before the configuration file is read. Needs `pip install "graphtf[graphgym]"`.
"""

try:
    import yacs as yacs  # without it PyG's module is loaded, but has no configuration
except ImportError as error:
    raise ImportError('GraphGym needs yacs; install it with: pip install "graphtf[graphgym]"') from error

from graphtf.graphgym.encoders import (
    LinearTransformerPEEdgeEncoder,
    LinearTransformerPENodeEncoder,
    StoredPEEdgeEncoder,
    StoredPENodeEncoder,
)
from graphtf.graphgym.loader import load_graphtf
from graphtf.graphgym.options import set_options

__all__ = [
    "LinearTransformerPEEdgeEncoder",
    "LinearTransformerPENodeEncoder",
    "StoredPEEdgeEncoder",
    "StoredPENodeEncoder",
    "load_graphtf",
    "set_options",
]
