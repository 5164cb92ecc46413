"""Windows and their assignment to servers."""

import pytest
import torch
from segment_anything.modeling.image_encoder import window_partition

from paperlib.pedsam.split.partition import (
    WindowGrid,
    assign,
    assignment_table,
    neighbours,
    owner_map,
    patches,
    visible_pixels,
)

KINDS = ("contiguous", "interleaved", "random")
GRIDS = [WindowGrid(64, 14), WindowGrid(16, 5), WindowGrid(7, 7), WindowGrid(9, 2)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_rows_are_those_of_sams_windows(grid):
    numbers = torch.arange(grid.tokens**2).view(1, grid.tokens, grid.tokens, 1) + 1.0
    windows, _ = window_partition(numbers, grid.window)  # padding is 0
    for number, window in enumerate(windows):
        real = window[window > 0].long() - 1
        assert torch.equal(grid.rows([number]), real)
        assert grid.shape(number)[0] * grid.shape(number)[1] == len(real)
    everything = grid.rows(range(grid.count))
    assert sorted(everything.tolist()) == list(range(grid.tokens**2))


def test_patches_are_those_of_the_convolution():
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 5, 4, 4)
    x = torch.randn(2, 3, 12, 12)
    expected = convolution(x).flatten(2).transpose(1, 2)
    weight = convolution.weight.flatten(1)
    torch.testing.assert_close(patches(x, 4) @ weight.T + convolution.bias, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_every_number_of_servers_is_served_evenly(kind, grid):
    for servers in range(1, grid.count + 1):
        assignment = assign(kind, grid.count, servers, grid, b"secret", 3)
        counts = [assignment.count(server) for server in range(servers)]
        assert sum(counts) == grid.count
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("tokens", "window", "servers"),
    [(64, 14, 4), (64, 14, 5), (64, 14, 25), (16, 5, 2), (16, 5, 4), (16, 5, 8)],
)
def test_neighbours_of_an_interleaved_window_are_elsewhere(tokens, window, servers):
    grid = WindowGrid(tokens, window)
    board = torch.tensor(assign("interleaved", grid.count, servers, grid)).view(grid.per_side, -1)
    assert (board[1:] != board[:-1]).all()
    assert (board[:, 1:] != board[:, :-1]).all()


def test_contiguous_servers_hold_runs():
    assignment = assign("contiguous", 16, 4, WindowGrid(16, 5))
    assert assignment == tuple(sorted(assignment))


def test_random_comes_from_secret_and_frame_only():
    grid = WindowGrid(64, 14)
    first = assign("random", 25, 4, grid, b"one", 0)
    assert first == assign("random", 25, 4, grid, b"one", 0)
    others = [assign("random", 25, 4, grid, b"one", 1), assign("random", 25, 4, grid, b"two", 0)]
    assert first not in others and others[0] != others[1]


@pytest.mark.parametrize("varied", ["frame", "secret"])
def test_random_assignments_are_as_many_as_the_secret_has_bits(varied):
    """One byte of it would give 256 at most, two 65,536, so that some of 1,000 would be equal."""
    grid, drawn = WindowGrid(64, 14), set()
    for number in range(1000):
        frame, secret = (number, b"one") if varied == "frame" else (0, str(number).encode())
        drawn.add(assign("random", 25, 5, grid, secret, frame))
    assert len(drawn) == 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "rnd"}, "kind='rnd': valid are contiguous, interleaved, random"),
        ({"servers": 0}, "0 servers for 16 windows: valid are .* 1 to 16 servers"),
        ({"servers": 17}, "17 servers for 16 windows"),
        ({"windows": 15}, "the grid's 16 windows"),
        ({"kind": "random"}, "secret: a random assignment needs one"),
    ],
)
def test_wrong_words(change, message):
    given = {"kind": "contiguous", "windows": 16, "servers": 4, "grid": WindowGrid(16, 5)}
    with pytest.raises(ValueError, match=message):
        assign(**(given | change))


def test_colluding_servers_see_their_windows_together():
    grid = WindowGrid(16, 5)
    assignment = assign("interleaved", 16, 4, grid)
    seen = [visible_pixels(grid, assignment, {server}, 16) for server in range(4)]
    assert torch.stack(seen).sum(0).eq(1).all()
    assert torch.equal(visible_pixels(grid, assignment, {0, 2}, 16), seen[0] | seen[2])
    assert seen[0].shape == (256, 256)


def test_owner_map():
    assignment = (0, 1, 2, 1)
    tokens = owner_map(WindowGrid(4, 3), assignment, patch=1)
    assert tokens.tolist() == [[0, 0, 0, 1]] * 3 + [[2, 2, 2, 1]]
    pixels = owner_map(WindowGrid(4, 3), assignment, patch=2)
    assert torch.equal(pixels[::2, 1::2], tokens) and pixels.shape == (8, 8)


def test_neighbours_on_one_server():
    grid = WindowGrid(6, 3)  # 2 × 2 windows, four pairs
    assert neighbours(grid, (0, 0, 0, 0)) == 1
    assert neighbours(grid, (0, 1, 1, 0)) == 0
    assert neighbours(grid, (0, 0, 1, 1)) == 0.5
    assert neighbours(grid, (0, 0, 0, 1)) == 0.5


def test_windows_tile_the_image_as_the_owner_map_says():
    grid, assignment = WindowGrid(7, 3), (0, 1, 2, 1, 0, 2, 2, 2, 0)
    table, owner = assignment_table(grid, assignment, 2), owner_map(grid, assignment, 2)
    covered = torch.zeros(14, 14)
    for window in table.itertuples():
        place = slice(window.top, window.bottom), slice(window.left, window.right)
        assert (owner[place] == window.server).all()
        covered[place] += 1
    assert (covered == 1).all() and table.server.tolist() == list(assignment)
