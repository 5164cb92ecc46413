"""What a notebook needs and makes, and what of a run is committed."""

import pytest

from paperlib.paths import CHECKPOINTS, FIGURES, NOTEBOOKS, ROOT
from paperlib.runs import graph

TABLE = """
01_one: {package: freq, datasets: [openmoji, cifar10], memory: {smoke: 1, default: 2, paper: 3},
  checkpoints: ["{dataset}-net", plain], figures: [a, b]}
"""
CLAIMS = "{claims: [{id: x, notebook: 01_one}, {id: y, notebook: 02_two}]}"


@pytest.fixture
def entry(tmp_path):
    (tmp_path / "graph.yaml").write_text(TABLE)
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "few.yaml").write_text(CLAIMS)
    return graph.read_table(tmp_path / "graph.yaml", tmp_path / "claims")["01_one"]


def test_outputs(entry):
    assert entry.outputs() == [
        *("a.png", "a.csv", "a.json", "b.png", "b.csv", "b.json"),
        "claims/x.json",
    ]


def test_inputs(entry, tmp_path):
    inputs = entry.inputs("cifar10")
    needed = [
        NOTEBOOKS / "01_one.py",
        ROOT / "paperlib" / "freq" / "dct.py",
        ROOT / "paperlib" / "data" / "__init__.py",
        ROOT / "paperlib" / "models" / "__init__.py",
        ROOT / "paperlib" / "freq" / "sizes.py",
        CHECKPOINTS / "cifar10-net.safetensors",
        CHECKPOINTS / "cifar10-net.json",
        CHECKPOINTS / "plain.safetensors",
        tmp_path / "claims" / "few.yaml",
    ]
    assert set(map(str, needed)) <= set(inputs)
    assert inputs == sorted(inputs)
    assert not [file for file in inputs if "openmoji-net" in file]


def test_inputs_are_what_is_imported(entry, tmp_path):
    (tmp_path / "plain.py").write_text("import torch\nfrom paperlib.data import cifar")
    found = {
        file.relative_to(ROOT / "paperlib").as_posix()
        for file in graph.with_imports({tmp_path / "plain.py"})
        if file.is_relative_to(ROOT)
    }
    assert {"data/__init__.py", "data/cifar.py", "data/encoded.py", "paths.py"} <= found
    assert not [file for file in found if file.startswith(("models", "freq"))]
    freq = set(entry.inputs("cifar10"))
    assert str(ROOT / "paperlib" / "models" / "cnn.py") in freq  # by what it imports
    for other in ("models/clip_training.py", "d4c/synthesis.py", "pedsam/edge.py"):
        assert str(ROOT / "paperlib" / other) not in freq


def test_published(entry):
    assert entry.published("default", "openmoji", 0) == FIGURES / "default"
    assert entry.published("paper", "cifar10", 0) == FIGURES / "paper"
    for run in (
        ("smoke", "openmoji", 0),
        ("default", "openmoji", 1),
        ("default", "cifar10", 0),
        ("paper", "openmoji", 0),
    ):
        assert entry.published(*run) is None


def test_chosen():
    everything = graph.chosen("default", None, None)
    assert list(everything) == list(graph.read_table())
    assert set(everything.values()) == {"openmoji"}
    assert graph.chosen("paper", None, "02_rct") == {"02_rct": "cifar10"}
    assert set(graph.chosen("default", "cifar10", None).values()) == {"cifar10"}
    with pytest.raises(ValueError, match="02_rct takes the data sets openmoji, cifar10"):
        graph.chosen("default", "coco", "02_rct")


def test_room():
    assert graph.cores() >= 1
    assert 0 < graph.available_memory() < 2**30
