"""Train a GraphGym configuration with the encodings of graphtf.

python examples/graphgym/main.py --cfg examples/graphgym/csl.yaml [optim.max_epoch 30 ...]
"""

import torch
from torch_geometric import seed_everything
from torch_geometric.graphgym import cfg, create_model, load_cfg, parse_args, set_out_dir, set_printing, set_run_dir
from torch_geometric.graphgym.train import GraphGymDataModule, train
from torch_geometric.graphgym.utils.comp_budget import params_count
from torch_geometric.graphgym.utils.device import auto_select_device

import graphtf.graphgym  # noqa: F401  registers the encoders, their options and the data

if __name__ == "__main__":
    arguments = parse_args()
    load_cfg(cfg, arguments)
    set_out_dir(cfg.out_dir, arguments.cfg_file)
    torch.set_num_threads(cfg.num_threads)
    set_printing()
    set_run_dir(cfg.out_dir)
    seed_everything(cfg.seed)
    auto_select_device()
    data = GraphGymDataModule()
    model = create_model()
    cfg.params = params_count(model)
    train(model, data)
