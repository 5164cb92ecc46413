"""Which notebooks a run takes, on which data, and the room that it has."""

import pytest

from paperlib.files import FileError
from paperlib.runs import graph
from paperlib.runs.table import read_table


def test_chosen():
    table = read_table()
    everything = graph.chosen(table, "default", None, [])
    assert list(everything) == list(table)
    assert set(everything.values()) == {"openmoji"}
    assert graph.chosen(table, "paper", None, ["02_rct"]) == {"02_rct": "cifar10"}
    both = graph.chosen(table, "paper", None, ["02_rct", "07_segmentation"])
    assert both == {"02_rct": "cifar10", "07_segmentation": "coco"}
    assert set(graph.chosen(table, "default", "cifar10", []).values()) == {"cifar10"}
    with pytest.raises(FileError, match="02_rct takes the data sets openmoji, cifar10"):
        graph.chosen(table, "default", "coco", ["02_rct"])


def test_room():
    assert graph.cores() >= 1
