"""Training and evaluation of molecular models with Lightning, as the command line does it."""

from graphtf.train.compare import compare
from graphtf.train.config import TrainConfig
from graphtf.train.evaluate import evaluate
from graphtf.train.predict import predict
from graphtf.train.run import train

__all__ = ["TrainConfig", "compare", "evaluate", "predict", "train"]
