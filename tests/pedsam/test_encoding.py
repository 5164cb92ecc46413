"""What notebook 6 shows of one image over servers."""

import pytest
import torch

from paperlib.models.sam import IMAGE, load_sam
from paperlib.pedsam import encoding
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import KINDS, WindowGrid, owner_map
from paperlib.pedsam.split.schedule import rounds
from paperlib.pedsam.split.worker import WindowBlocks

SECRET = b"of the edge"


@pytest.fixture(scope="module")
def sam():
    return load_sam("sam-small")


def test_rounds_of_a_sam(sam):
    table = encoding.rounds_table({"small": sam.image_encoder})
    assert table.index.tolist() == [("small", 16, 0), ("small", 16, 1)]
    assert table["sent"].tolist() == ["pixels", "tokens"]
    assert table["servers run"].tolist() == ["0 1", "3 4"]
    assert table["edge runs"].tolist() == ["2", "5"]


def test_shares_of_the_servers_add_up_to_the_image():
    table = encoding.assignments(WindowGrid(20, 6), (2, 4), SECRET, patch=16)
    assert table.groupby(["servers", "assignment"]).ngroups == 6
    servers = table.drop_duplicates(["servers", "assignment", "server"])
    sums = servers.groupby(["servers", "assignment"]).share.sum()
    assert sums.to_numpy() == pytest.approx(1)
    assert (table.bottom.max(), table.right.max()) == (320, 320)


def test_shares_are_of_the_picture_where_it_is_no_square():
    table = encoding.assignments(WindowGrid(20, 6), (4,), SECRET, patch=16, size=(213, 320))
    assert (table.bottom.max(), table.right.max()) == (213, 320)
    assert table.window.max() == 11  # the lower four hold filling alone
    for _, part in table.groupby("assignment"):
        pixels = (part.bottom - part.top) * (part.right - part.left)
        assert pixels.sum() == 213 * 320
        by_server = pixels.groupby(part.server).sum() / (213 * 320)
        assert part.share.to_numpy() == pytest.approx(by_server[part.server].to_numpy())
    assert (table.share <= table.bound).all()
    assert table.bound[0] == pytest.approx((1 + 3 * 96**2 / (213 * 320)) / 4, abs=1e-4)


def test_neighbours_of_every_assignment():
    table = encoding.neighbours_table(WindowGrid(20, 6), (2, 16), SECRET, frames=50)
    share = table.set_index(["assignment", "servers"]).share
    assert (share.xs(16, level="servers") == 0).all() and share["interleaved", 2] == 0
    assert share["contiguous", 2] > share["random", 2] > 0.3


def test_every_shape_and_assignment_is_encoded_over_servers(sam):
    image = torch.rand(1, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(0)) * 255
    found = encoding.encode_over_servers("sam-small", sam, image, (1, 2), SECRET)
    assert list(found.ledgers) == [(kind, k) for kind in KINDS for k in (1, 2)]
    assert 0 < found.difference < 1e-4
    assert set(found.ledgers["random", 2].server) == {0, 1}
    assert "compute" in {entry["event"] for entry in found.log}
    shares = found.shares.set_index(["shape", "assignment", "servers"])
    assert len(shares) == len(encoding.SHAPES) * 3 * 2
    assert (shares.xs(1, level="servers").share == 1).all()
    two = shares.xs(2, level="servers")
    assert (two.share <= two.bound).all() and two.share.between(0.5, 0.65).all()
    assert two.bound["16:9", "random"] == pytest.approx((1 + 96**2 / (180 * 320)) / 2)


def test_windows_tile_the_image_as_the_owner_map_says():
    grid, assignment = WindowGrid(7, 3), (0, 1, 2, 1, 0, 2, 2, 2, 0)
    table = encoding.assignment_table(assignment, grid.contents(14, 14, patch=2))
    owner = owner_map(grid, assignment, 2)
    covered = torch.zeros(14, 14)
    for window in table.itertuples():
        place = slice(window.top, window.bottom), slice(window.left, window.right)
        assert (owner[place] == window.server).all()
        covered[place] += 1
    assert (covered == 1).all() and table.server.tolist() == list(assignment)


def test_splits_that_are_not_exact_differ_by_more_than_the_exact_one_may(sam):
    image = torch.rand(1, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(0)) * 255
    found = encoding.inexact_splits(sam, image)
    assert list(found) == ["two tokens exchanged", "float16", "pixels once"]
    assert 1e-4 < found["float16"] < 1e-3 < found["two tokens exchanged"] < found["pixels once"]
    with torch.inference_mode():
        x = sam.preprocess(image)
        other = PartitionedEncoder(sam.image_encoder, schedule="pixels_once")(x)
        expected = (other - sam.image_encoder(x)).abs().max().item()
    assert found["pixels once"] == pytest.approx(expected)


def test_the_first_round_alone_is_changed(sam):
    worker = WindowBlocks(sam.image_encoder)
    changed, turns = encoding._Changed(worker, torch.zeros_like), rounds(sam.image_encoder, "exact")
    tokens = torch.rand(1, 400, 3 * 16**2), torch.rand(1, 400, worker.channels)
    assert not changed.run(0, turns[0], tokens[0]).any()
    assert changed.run(1, turns[1], tokens[1]).all()
