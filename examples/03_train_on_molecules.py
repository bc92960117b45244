"""A PyG model of your own, trained on molecules with a learnable encoding of nodes and edges: the whole script."""

import torch
from torch import nn
from torch.nn.functional import l1_loss
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, global_add_pool

from graphtf.datasets import CleanLeads
from graphtf.nn import LinearTransformerPE

EPOCHS, CHANNELS = 8, 64


class Net(nn.Module):
    """GINE layers on atom and bond types, each with the encoding added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = LinearTransformerPE(k=16)
        self.atom, self.bond = nn.Embedding(28, CHANNELS), nn.Embedding(4, CHANNELS)
        self.node_norm, self.edge_norm = nn.BatchNorm1d(16), nn.BatchNorm1d(16)
        self.node, self.edge = nn.Linear(16, CHANNELS), nn.Linear(16, CHANNELS)
        self.convs = nn.ModuleList(GINEConv(self.mlp(CHANNELS)) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm1d(CHANNELS) for _ in range(4))
        self.head = self.mlp(1)

    @staticmethod
    def mlp(out: int) -> nn.Module:
        """Two layers."""
        return nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, out))

    def forward(self, data):
        """Predict `[num_graphs]`."""
        node, edge = self.encoder(data, return_edge=True)
        x = self.atom(data.x.squeeze(1)) + self.node(self.node_norm(node))
        e = self.bond(data.edge_attr) + self.edge(self.edge_norm(edge))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = x + norm(conv(x, data.edge_index, e)).relu()
        return self.head(global_add_pool(x, data.batch, data.num_graphs)).squeeze(1)


def main() -> None:
    """Train and print the validation error."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the tensors are small
    train, val = CleanLeads("data/clean_leads", "train")[:3000], CleanLeads("data/clean_leads", "val")
    loader = DataLoader(train, batch_size=64, shuffle=True)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs=EPOCHS, steps_per_epoch=len(loader))
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            l1_loss(model(batch), batch.y).backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            errors = torch.cat([(model(batch) - batch.y).abs() for batch in DataLoader(val, batch_size=250)])
        print(f"epoch {epoch}: validation MAE {errors.mean():.3f}")


if __name__ == "__main__":
    main()
