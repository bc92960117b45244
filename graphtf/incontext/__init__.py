"""Transformers that optimise in context: prompts, models with constructed and learned weights."""

from graphtf.incontext.adaptive import AdaptiveDescent
from graphtf.incontext.fixed_matrix import FixedMatrixLasso, select_support
from graphtf.incontext.gaussian_process import GaussianProcessPrompt
from graphtf.incontext.gradient import gradient_descent_transformer, linear_transformer, one_layer_optimum
from graphtf.incontext.graph_memformer import GraphMemformer
from graphtf.incontext.graph_prompts import GraphGaussianProcessPrompt, graph_features, label_propagation
from graphtf.incontext.kernel import kernel_transformer
from graphtf.incontext.memformer import memformer
from graphtf.incontext.model import InContextTransformer
from graphtf.incontext.prompts import Prompt
from graphtf.incontext.regression import InContextRegression
from graphtf.incontext.shortest_path import (
    PathProblem,
    ShortestPathPrompt,
    exact_flow,
    path_rate,
    read_path,
    support_rate,
)
from graphtf.incontext.shortest_path_transformer import ShortestPathTransformer
from graphtf.incontext.sparse import (
    SparsePrompt,
    SparseRecoveryPrompt,
    UnrolledLasso,
    analytic_dictionary,
    nmse_db,
)

__all__ = [
    "AdaptiveDescent",
    "FixedMatrixLasso",
    "GaussianProcessPrompt",
    "GraphGaussianProcessPrompt",
    "GraphMemformer",
    "InContextRegression",
    "InContextTransformer",
    "PathProblem",
    "Prompt",
    "ShortestPathPrompt",
    "ShortestPathTransformer",
    "SparsePrompt",
    "SparseRecoveryPrompt",
    "UnrolledLasso",
    "analytic_dictionary",
    "exact_flow",
    "gradient_descent_transformer",
    "graph_features",
    "kernel_transformer",
    "label_propagation",
    "linear_transformer",
    "memformer",
    "nmse_db",
    "one_layer_optimum",
    "path_rate",
    "read_path",
    "select_support",
    "support_rate",
]
