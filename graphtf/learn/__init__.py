"""Linear transformers trained from random weights on graph algorithms, against the constructed ones."""

from graphtf.learn.run import LearnConfig, learn
from graphtf.learn.tasks import exact_answer, sample_graphs, sample_problem

__all__ = ["LearnConfig", "exact_answer", "learn", "sample_graphs", "sample_problem"]
