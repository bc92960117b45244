"""Transformers that optimise in context: prompts, models with constructed and learned weights."""

from graphtf.incontext.adaptive import AdaptiveDescent
from graphtf.incontext.gradient import gradient_descent_transformer, linear_transformer, one_layer_optimum
from graphtf.incontext.kernel import kernel_transformer
from graphtf.incontext.memformer import memformer
from graphtf.incontext.model import InContextTransformer
from graphtf.incontext.prompts import Prompt
from graphtf.incontext.regression import InContextRegression

__all__ = [
    "AdaptiveDescent",
    "InContextRegression",
    "InContextTransformer",
    "Prompt",
    "gradient_descent_transformer",
    "kernel_transformer",
    "linear_transformer",
    "memformer",
    "one_layer_optimum",
]
