"""The embedded molecules, and the features and targets that every data set of molecules computes."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rdkit import Chem
from torch_geometric.loader import DataLoader

from graphtf.datasets import ATOM_TYPES, CleanLeads, clean_leads_smiles, ogb_graph, penalized_logp, zinc_graph

# Molecules of ZINC's validation split and their published targets.
PUBLISHED = {
    "COCc1ccc(C(=O)Oc2ccc(F)cc2)cc1": 2.469099,
    "CC(C)[C@H]([NH3+])C(=O)N(C[C@@H]1CCCC[NH+]1Cc1ccccc1)C1CC1": -3.056852,
    "CC(C)(C)OC(=O)[C@H]1[NH2+]C[C@@H]2CCC[C@@H]12": -2.967828,
    "O=c1c([N+](=O)[O-])cccn1Cc1ccc(F)cc1Cl": 1.353239,
    "C[S@@](=O)c1cccc([N-]S(=O)(=O)c2cccc3ccccc23)c1": 0.605589,
    "Oc1ccc(N2CCN(/C([S-])=[NH+]\\Cc3ccccc3)CC2)cc1": -0.935404,
    "CCN(/C=C/c1nnnn1-c1ccc(I)cc1)CC": 0.384386,
    "C=CC/C(F)=C(/F)C(F)(F)F": 0.009865,
    "[NH3+][C@@H](c1ccc(F)c(Br)c1)C1CCCCCC1": -2.597126,
    "CS(=O)(=O)O[C@@H]1CC2CC(CCC1=O)C2": -9.007089,
    "CCCCCCNC(=O)c1c([O-])n2c3c(cccc3c1=O)CCC2": -20.465176,
    "CC1(C)C(=O)N(Cc2ccc(F)cc2C#CCO)S1(=O)=O": -1.249086,
}


def few(data):
    return data.num_nodes < 18


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A cache that holds the small molecules of the validation and test splits."""
    folder = tmp_path_factory.mktemp("clean_leads")
    for split in ("val", "test"):
        CleanLeads(folder, split, pre_filter=few, progress=False)
    return folder


@pytest.mark.parametrize("smiles", PUBLISHED)
def test_targets_are_the_published_ones(smiles):
    assert penalized_logp(smiles) == pytest.approx(PUBLISHED[smiles], abs=1e-6)


def test_targets_of_a_molecule_and_of_its_smiles_agree_and_leave_it_unchanged():
    mol = Chem.MolFromSmiles("c1ccc2[nH]ccc2c1")
    assert penalized_logp(mol) == penalized_logp("c1ccc2[nH]ccc2c1")
    zinc_graph(mol)
    assert mol.GetAtomWithIdx(0).GetIsAromatic()


def test_zinc_features_of_a_molecule_written_out():
    data = zinc_graph("C[N+](C)=CC#N")
    assert data.x.view(-1).tolist() == [ATOM_TYPES[name] for name in ("C", "N +", "C", "C", "C", "N")]
    edges = {(0, 1): 1, (1, 2): 1, (1, 3): 2, (3, 4): 1, (4, 5): 3}
    both = edges | {(v, u): order for (u, v), order in edges.items()}
    pairs = map(tuple, data.edge_index.t().tolist())
    assert dict(zip(pairs, data.edge_attr.tolist(), strict=True)) == both
    assert (data.x.dtype, data.edge_index.dtype, data.edge_attr.dtype) == (torch.int64,) * 3


def test_a_single_atom_has_no_edges():
    assert zinc_graph("C").edge_index.shape == (2, 0)
    assert zinc_graph("C").edge_attr.shape == (0,)
    assert ogb_graph("C").edge_attr.shape == (0, 3)


@pytest.mark.parametrize("featurize", [zinc_graph, ogb_graph, penalized_logp])
@pytest.mark.parametrize(
    ("smiles", "error"), [("C(C", ValueError), ("", ValueError), ("CCO CCN", ValueError), (None, TypeError)]
)
def test_what_is_no_molecule_is_refused(featurize, smiles, error):
    with pytest.raises(error, match=r"SMILES|smiles"):
        featurize(smiles)


def test_no_embedded_molecule_occurs_twice():
    splits = {split: clean_leads_smiles(split) for split in ("train", "val", "test")}
    assert {split: len(smiles) for split, smiles in splits.items()} == {"train": 10_000, "val": 1_000, "test": 1_000}
    everything = [smiles for part in splits.values() for smiles in part]
    assert len({Chem.CanonSmiles(smiles) for smiles in everything}) == 12_000


def test_embedded_graphs_are_those_of_their_smiles(root):
    dataset = CleanLeads(root, "val", pre_filter=few)
    chosen = [smiles for smiles in clean_leads_smiles("val") if zinc_graph(smiles).num_nodes < 18]
    assert dataset.smiles == [data.smiles for data in dataset] == chosen
    for data in dataset:
        expected = zinc_graph(data.smiles)
        assert torch.equal(data.x, expected.x)
        assert torch.equal(data.edge_index, expected.edge_index)
        assert torch.equal(data.edge_attr, expected.edge_attr)
        assert data.y.shape == (1,)
        assert data.y.dtype == torch.float32
        assert data.y.item() == pytest.approx(penalized_logp(data.smiles), rel=1e-6)


def test_embedded_graphs_batch(root):
    dataset = CleanLeads(root, "test", pre_filter=few)
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert batch.y.shape == (4,)
    assert batch.smiles == [data.smiles for data in dataset[:4]]
    assert dataset.num_node_features == 1


def test_the_cache_is_read_and_force_reload_computes_anew(root, monkeypatch):
    def fail(*_):
        raise RuntimeError("computed")

    monkeypatch.setattr("graphtf.datasets.clean_leads.zinc_graph", fail)
    assert len(CleanLeads(root, "test", pre_filter=few)) > 0
    with pytest.raises(RuntimeError, match="computed"):
        CleanLeads(root, "test", pre_filter=few, force_reload=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "valid"}, ValueError, "'train', 'val', 'test', but got 'valid'"),
        ({"split": None}, ValueError, "got None"),
        ({"transform": 3}, TypeError, "transform must be a function"),
        ({"pre_filter": "x"}, TypeError, "pre_filter must be a function"),
        ({"force_reload": "yes"}, TypeError, "force_reload must be a bool"),
        ({"progress": 1}, TypeError, "progress must be a bool"),
        ({"root": 7}, TypeError, "root must be a path"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        CleanLeads(**{"root": tmp_path / "cache"} | options)
    assert not (tmp_path / "cache").exists()


def test_importing_the_package_imports_no_chemistry():
    code = "import sys, graphtf.datasets; print({'rdkit', 'ogb', 'networkx'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_licence_and_provenance_are_beside_the_molecules():
    data = Path(sys.modules["graphtf.datasets"].__file__).parent / "data"
    assert "Permission is hereby granted" in (data / "LICENSE.molsets").read_text()
    assert "make_clean_leads.py" in (data / "README.md").read_text()
    assert sum(path.stat().st_size for path in data.glob("clean_leads_*.csv.gz")) < 160_000


def test_all_molecules_of_a_split_are_computed_with_a_bar(tmp_path, capfd):
    dataset = CleanLeads(tmp_path, "val")
    assert dataset.smiles == clean_leads_smiles("val")
    sizes = [data.num_nodes for data in dataset]
    assert (min(sizes), sum(sizes), max(sizes)) == (15, 21_684, 26)
    assert dataset.y.mean().item() == pytest.approx(0.780, abs=5e-4)
    assert "1000/1000" in capfd.readouterr().err


def test_embedded_files_are_those_of_the_readme_in_the_order_of_their_hashes():
    data = Path(sys.modules["graphtf.datasets"].__file__).parent / "data"
    readme = (data / "README.md").read_text()
    for split in ("train", "val", "test"):
        content = (data / f"clean_leads_{split}.csv.gz").read_bytes()
        assert hashlib.sha256(content).hexdigest() in readme
        order = [
            hashlib.sha256(f"graphtf-clean-leads-0:{smiles}".encode()).hexdigest()
            for smiles in clean_leads_smiles(split)
        ]
        assert order == sorted(order)
