"""The user's own molecules."""

import gzip

import pytest
import torch
from torch_geometric.loader import DataLoader

from graphtf.datasets import SkippedRow, SMILESDataset, molecule_splits

GOOD = "smiles,y\nCCO,1.5\nc1ccccc1,-2\nC,0\n"


@pytest.fixture
def read(tmp_path):
    """Write a table and read it."""

    def build(content, name="mine.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return SMILESDataset(tmp_path / "cache", path, **{"progress": False} | options)

    return build


def values(dataset):
    return [(data.smiles, data.y.item()) for data in dataset]


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\n\n"),
        "\n" + GOOD + " \n,\n",
        'name,smiles,y\n"ethanol, pure","CCO","1.5"\n"a\n""b""",c1ccccc1,-2\n,C,0\n',
        " smiles , y \n CCO , 1.5 \n c1ccccc1 , -2.0e0 \n C , 0 \n",
        gzip.compress(GOOD.encode()),
    ],
    ids=[
        "plain",
        "no newline at the end",
        "Windows",
        "BOM",
        "blank lines",
        "more blank lines",
        "quoted",
        "spaces",
        "gz",
    ],
)
def test_tables_as_they_come(read, content):
    dataset = read(content)
    assert values(dataset) == [("CCO", 1.5), ("c1ccccc1", -2.0), ("C", 0.0)]
    assert dataset.skipped == []
    assert [tuple(data.x.shape) for data in dataset] == [(3, 1), (6, 1), (1, 1)]
    assert all(data.y.shape == (1,) and data.y.dtype == torch.float32 for data in dataset)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "mine.csv is empty"),
        ("\n\n", {}, "mine.csv is empty"),
        ("smiles,y\n", {}, "has a header but no rows"),
        ("SMILES,logp\nC,1\n", {}, r"'smiles' is missing; the columns are 'SMILES', 'logp'.*smiles_column"),
        (
            "smiles,logp\nC,1\n",
            {},
            r"'y' is missing; the columns are 'smiles', 'logp'.*target_column \(None.*DIR:COLUMN",
        ),
        ("smiles,y,y\nC,1,2\n", {}, "'y' occurs 2 times"),
        ("smiles,y\nC,1\nC(C,2\n", {}, r"mine.csv, line 3, 'C\(C': RDKit cannot parse.*on_error=\"skip\""),
        ("smiles,y\n\nC,1\n\n[Si],2\n", {}, r"mine.csv, line 5, '\[Si\]': .*not among the 28 of ZINC.*ogb"),
        ('smiles,y,n\nC,1,"a\nb"\nC(C,2,c\n', {}, r"line 4, 'C\(C'"),
        ("smiles,y\nC,\n", {}, "line 2, 'C': the target is missing"),
        ("smiles,y\nC,low\n", {}, "line 2, 'C': the target 'low' is not a number"),
        ("smiles,y\nC,1_0\n", {}, "is not a number"),
        ("smiles,y\nC,nan\n", {}, "'nan' is not finite"),
        ("smiles,y\nC,-inf\n", {}, "'-inf' is not finite"),
        ("smiles,y\nC,1e39\n", {}, "'1e39' is not finite in single precision"),
        ("smiles,y\n,1\n", {}, "line 2, '': the SMILES is missing"),
        ("smiles,y\nC\n", {}, "the row has 1 fields, but the header has 2"),
        ("smiles,y\nC,1,5\n", {}, "the row has 3 fields, but the header has 2"),
        ('smiles,y\nC,1\nCC,"2\nC,3\n', {}, "line 3: not valid CSV"),
        ("smiles,y\nC\u00e9,1\n".encode("latin-1"), {}, "line 2: the text is not UTF-8"),
        (gzip.compress(GOOD.encode())[:-12], {}, "damaged gzip archive"),
        (b"\x1f\x8b rubbish", {}, "damaged gzip archive"),
        ("smiles,y\nC(C,1\nC,x\n", {"on_error": "skip"}, r"none of the 2 rows is left.*line 2, 'C\(C'"),
        (GOOD, {"pre_filter": lambda data: False}, "none of the 3 molecules of mine is left"),
        (GOOD, {"features": "rdkit"}, "features must be one of 'zinc', 'ogb'"),
        (GOOD, {"on_error": "ignore"}, "on_error must be one of 'raise', 'skip'"),
    ],
)
def test_wrong_tables_are_refused(read, tmp_path, content, options, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read(content, **options)
    assert not list((tmp_path / "cache").rglob("*.*"))


@pytest.mark.parametrize("options", [{"smiles_column": None}, {"target_column": 1}, {"progress": None}])
def test_wrong_types_are_refused(read, options):
    with pytest.raises(TypeError, match="must be"):
        read(GOOD, **options)


def test_wrong_paths_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*none\.csv"):
        SMILESDataset(tmp_path, tmp_path / "none.csv")
    with pytest.raises(ValueError, match="is a directory; see molecule_splits"):
        SMILESDataset(tmp_path, tmp_path)
    with pytest.raises(TypeError, match="path must be a path"):
        SMILESDataset(tmp_path, 3)


def test_skipped_rows_are_listed_and_survive_the_cache(read):
    content = "smiles,y\nCCO,1.5\nC(C,2\nC,\n[Si],4\nN,5\nN,6,7\n"
    for _ in range(2):
        dataset = read(content, on_error="skip")
        assert values(dataset) == [("CCO", 1.5), ("N", 5.0)]
        assert [row[:2] for row in dataset.skipped] == [(3, "C(C"), (4, "C"), (5, "[Si]"), (7, "N")]
        assert all(isinstance(row, SkippedRow) and row.reason for row in dataset.skipped)


def test_columns_by_name_and_no_target(read):
    dataset = read("id,molecule,y\n1,CO,x\n2,CN,\n", smiles_column="molecule", target_column=None)
    assert dataset.smiles == ["CO", "CN"]
    assert "y" not in dataset[0]


def test_one_molecule(read):
    dataset = read("smiles,y\nCCO,1\n")
    assert len(dataset) == 1
    assert values(dataset) == [("CCO", 1.0)]


def test_ogb_features(read):
    batch = next(iter(DataLoader(read("smiles,y\nC[Si](C)C,1\nC,2\n", features="ogb"), batch_size=2)))
    assert (batch.x.shape, batch.edge_index.shape, batch.edge_attr.shape) == ((5, 9), (2, 6), (6, 3))
    assert batch.smiles == ["C[Si](C)C", "C"]


def test_splits_of_a_directory(tmp_path):
    for name in ("train.csv.gz", "val.csv", "notes.txt"):
        (tmp_path / name).touch()
    assert molecule_splits(tmp_path) == {"train": tmp_path / "train.csv.gz", "val": tmp_path / "val.csv"}
    (tmp_path / "test.csv").touch()
    assert list(molecule_splits(str(tmp_path))) == ["train", "val", "test"]
    (tmp_path / "test.csv.gz").touch()
    with pytest.raises(ValueError, match=r"both test\.csv and test\.csv\.gz; remove"):
        molecule_splits(tmp_path)


def test_directories_without_splits_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        molecule_splits(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no train\.csv or train\.csv\.gz \(it holds nothing\)"):
        molecule_splits(tmp_path)
    (tmp_path / "train.csv").touch()
    with pytest.raises(FileNotFoundError, match=r"has no val\.csv or val\.csv\.gz \(it holds train\.csv\)"):
        molecule_splits(tmp_path)
    with pytest.raises(ValueError, match="is a file; give the folder"):
        molecule_splits(tmp_path / "train.csv")
    with pytest.raises(TypeError, match="directory must be a path"):
        molecule_splits(None)
