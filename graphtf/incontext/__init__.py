"""Transformers that optimise in context: prompts, models with constructed and learned weights."""

from graphtf.incontext.accelerated import AcceleratedLasso
from graphtf.incontext.adaptive import AdaptiveDescent
from graphtf.incontext.fixed_matrix import FixedMatrixLasso, select_support
from graphtf.incontext.flow_transformer import FlowTransformer
from graphtf.incontext.from_algorithm import from_algorithm
from graphtf.incontext.gaussian_process import GaussianProcessPrompt
from graphtf.incontext.gradient import gradient_descent_transformer, linear_transformer, one_layer_optimum
from graphtf.incontext.graph_memformer import GraphMemformer
from graphtf.incontext.graph_prompts import GraphGaussianProcessPrompt, graph_features, label_propagation
from graphtf.incontext.kernel import kernel_transformer
from graphtf.incontext.laplacian_prompt import LaplacianPrompt, LaplacianSystem, exact_potential
from graphtf.incontext.memformer import memformer
from graphtf.incontext.min_cost_flow import (
    FlowProblem,
    FlowScore,
    MinCostFlowPrompt,
    exact_min_cost_flow,
    exact_rate,
    flow_score,
)
from graphtf.incontext.model import InContextTransformer
from graphtf.incontext.prompts import Prompt
from graphtf.incontext.random_graphs import RandomGraphs
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
    "AcceleratedLasso",
    "AdaptiveDescent",
    "FixedMatrixLasso",
    "FlowProblem",
    "FlowScore",
    "FlowTransformer",
    "GaussianProcessPrompt",
    "GraphGaussianProcessPrompt",
    "GraphMemformer",
    "InContextRegression",
    "InContextTransformer",
    "LaplacianPrompt",
    "LaplacianSystem",
    "MinCostFlowPrompt",
    "PathProblem",
    "Prompt",
    "RandomGraphs",
    "ShortestPathPrompt",
    "ShortestPathTransformer",
    "SparsePrompt",
    "SparseRecoveryPrompt",
    "UnrolledLasso",
    "analytic_dictionary",
    "exact_flow",
    "exact_min_cost_flow",
    "exact_potential",
    "exact_rate",
    "flow_score",
    "from_algorithm",
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
