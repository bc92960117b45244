"""A positional encoding for PyTorch Geometric: as a transform, and the same as a learnable module."""

import torch
from torch_geometric.loader import DataLoader

from graphtf.datasets import zinc_graph
from graphtf.nn import LinearTransformerPE
from graphtf.transforms import AddLinearTransformerPE

transform = AddLinearTransformerPE(k=8, edge_attr_name="edge_pe")
smiles = ["c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C"]  # benzene, aspirin, caffeine
batch = next(iter(DataLoader([transform(zinc_graph(s)) for s in smiles], batch_size=3)))
print(batch.linear_transformer_pe.shape, batch.edge_pe.shape)  # [nodes, 8] and [edges, 8]

encoder = LinearTransformerPE(k=8)  # the same encoding inside a model: one pass over the batch, weights can be trained
print(torch.allclose(encoder(batch), batch.linear_transformer_pe, atol=1e-6))  # True
