"""The official benchmark from a local copy, in place of the download that tests cannot make."""

import os
import pickle
import urllib.error
import zipfile

import pytest
import torch
import torch_geometric.datasets

from graphtf.datasets import ZINC, penalized_logp, zinc_graph

MOLECULES = {
    "train": ["CCO", "c1ccc2[nH]ccc2c1", "C[NH+](C)CC#N", "OC(=O)C1CCCCCC1"],
    "val": ["C=CC/C(F)=C(/F)C(F)(F)F", "CC(=O)[O-]"],
    "test": ["Clc1ccccc1", "CS(=O)(=O)N"],
}
INDEX = {"train": [2, 0], "val": [1], "test": [0, 1]}


def official(smiles):
    """The dictionary that the official pickles hold for a molecule."""
    graph = zinc_graph(smiles)
    bonds = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.int8)
    bonds[graph.edge_index[0], graph.edge_index[1]] = graph.edge_attr.to(torch.int8)
    return {
        "num_atom": graph.num_nodes,
        "atom_type": graph.x.view(-1).to(torch.int8),
        "bond_type": bonds,
        "logP_SA_cycle_normalized": torch.tensor([penalized_logp(smiles)]),
    }


def write_copy(folder, protocol=4):
    folder.mkdir(parents=True)
    for split, molecules in MOLECULES.items():
        content = pickle.dumps([official(smiles) for smiles in molecules], protocol=protocol)
        (folder / f"{split}.pickle").write_bytes(content)
        (folder / f"{split}.index").write_text(",".join(map(str, INDEX[split])) + "\n")


def assert_is(dataset, molecules):
    assert len(dataset) == len(molecules)
    for data, smiles in zip(dataset, molecules, strict=True):
        expected = zinc_graph(smiles)
        assert torch.equal(data.x, expected.x)
        assert torch.equal(data.edge_index, expected.edge_index)
        assert torch.equal(data.edge_attr, expected.edge_attr)
        assert (data.y.shape, data.y.dtype) == ((1,), torch.float32)
        assert data.y.item() == pytest.approx(penalized_logp(smiles), rel=1e-6)


@pytest.mark.parametrize("place", ["raw", "raw/molecules"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("split", MOLECULES)
def test_a_local_copy_is_read(tmp_path, place, protocol, split):
    write_copy(tmp_path / place, protocol)
    chosen = [MOLECULES[split][index] for index in INDEX[split]]
    assert_is(ZINC(tmp_path, split=split, progress=False), chosen)
    assert_is(ZINC(tmp_path, subset=False, split=split, progress=False), MOLECULES[split])


def test_graphs_and_cache_are_those_of_pyg(tmp_path):
    write_copy(tmp_path / "raw")
    ours = ZINC(tmp_path, progress=False)
    theirs = torch_geometric.datasets.ZINC(str(tmp_path), subset=True)  # reads our cache
    assert_is(theirs, ["C[NH+](C)CC#N", "CCO"])
    theirs = torch_geometric.datasets.ZINC(str(tmp_path), subset=True, force_reload=True)
    for a, b in zip(ours, theirs, strict=True):
        assert a.to_dict().keys() == b.to_dict().keys()
        assert all(torch.equal(a[key], b[key]) for key in a.to_dict())
    assert isinstance(ours, torch_geometric.datasets.ZINC)


def test_functions_are_applied(tmp_path):
    write_copy(tmp_path / "raw")

    def mark(data):
        data.mark = data.num_nodes
        return data

    dataset = ZINC(tmp_path, False, pre_transform=mark, pre_filter=lambda data: data.num_nodes < 9, progress=False)
    assert dataset.mark.tolist() == [3, 6]


def test_the_cache_does_not_need_the_copy(tmp_path):
    write_copy(tmp_path / "raw")
    ZINC(tmp_path, progress=False)
    for path in (tmp_path / "raw").iterdir():
        path.unlink()
    assert len(ZINC(tmp_path, split="val")) == 1


def test_an_impossible_download_says_what_to_put_where(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch_geometric.datasets.zinc.download_url", unreachable)
    with pytest.raises(FileNotFoundError, match="no network") as caught:
        ZINC(tmp_path)
    for part in ("train.pickle", "test.index", str(tmp_path / "raw"), "molecules.zip", "CleanLeads"):
        assert part in str(caught.value)


def test_a_damaged_archive_is_named(tmp_path, monkeypatch):
    (tmp_path / "molecules.zip").write_bytes(b"<html>")
    with pytest.raises(FileNotFoundError, match=r"delete .*molecules\.zip, which is not complete"):
        ZINC(tmp_path)


def test_an_archive_beside_the_cache_is_unpacked(tmp_path, monkeypatch):
    write_copy(tmp_path / "elsewhere")
    with zipfile.ZipFile(tmp_path / "molecules.zip", "w") as archive:
        for split in MOLECULES:
            archive.write(tmp_path / "elsewhere" / f"{split}.pickle", f"molecules/{split}.pickle")

    def local(url, folder):
        name = os.path.basename(url).partition("?")[0]
        if name.endswith(".index"):
            os.rename(tmp_path / "elsewhere" / name, os.path.join(folder, name))
        return os.path.join(folder, name)

    monkeypatch.setattr("torch_geometric.datasets.zinc.download_url", local)
    assert len(ZINC(tmp_path, progress=False)) == 2


def test_an_incomplete_copy_is_kept_and_what_lacks_is_named(tmp_path):
    write_copy(tmp_path / "raw")
    (tmp_path / "raw" / "val.pickle").unlink()
    with pytest.raises(FileNotFoundError, match=r"is not complete; put val\.pickle into .*raw"):
        ZINC(tmp_path)
    assert (tmp_path / "raw" / "train.pickle").exists()


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("ran",)


class MaliciousStorage:
    """A storage whose bytes are a pickle of their own that runs code."""

    def __reduce__(self):
        return torch.storage._load_from_bytes, (pickle.dumps(Malicious(), protocol=2),)


@pytest.mark.parametrize("attack", [Malicious(), [Malicious()], MaliciousStorage(), print, torch.load])
def test_pickles_that_would_run_code_are_refused(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    write_copy(tmp_path / "raw")
    (tmp_path / "raw" / "train.pickle").write_bytes(pickle.dumps(attack))
    with pytest.raises(ValueError, match=r"train\.pickle is not read"):
        ZINC(tmp_path, progress=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.pickle", b"", "is not read"),
        ("train.pickle", pickle.dumps([official("CCO")] * 4)[:-40], "is not read"),
        ("train.pickle", b"hello world", "is not read"),
        ("train.pickle", pickle.dumps({"a": 1}), "must hold a list of molecules, but holds a dict"),
        ("train.pickle", pickle.dumps([{"num_atom": 3}] * 4), "molecule 2 of .* must be a dict with tensors"),
        ("train.pickle", pickle.dumps([1, 2, 3]), "molecule 2 of .* must be a dict"),
        ("train.index", b"0,4\n", r"holds molecule 4, but train.pickle has 4 \(0 ... 3\)"),
        ("train.index", b"0,-1\n", "holds molecule -1"),
        ("train.index", b"0;1\n", "must hold numbers of molecules between commas"),
        ("train.index", b"", "must hold numbers"),
    ],
)
def test_damaged_copies_are_refused(tmp_path, name, content, message):
    write_copy(tmp_path / "raw")
    (tmp_path / "raw" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ZINC(tmp_path, progress=False)
    assert not list((tmp_path / "subset").rglob("*.pt"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"split": "all"}, ValueError),
        ({"subset": 1}, TypeError),
        ({"root": None}, TypeError),
        ({"transform": 1}, TypeError),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, options, error):
    with pytest.raises(error, match="must be"):
        ZINC(**{"root": tmp_path / "zinc"} | options)
    assert not (tmp_path / "zinc").exists()
