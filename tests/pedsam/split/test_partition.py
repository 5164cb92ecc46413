"""Windows and their assignment to servers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling.image_encoder import window_partition

from paperlib.pedsam.split.partition import (
    EDGE,
    WindowGrid,
    area,
    assign,
    bound,
    content_size,
    neighbours,
    owner_map,
    patches,
    visible_pixels,
)

KINDS = ("contiguous", "interleaved", "random")
GRIDS = [WindowGrid(64, 14), WindowGrid(16, 5), WindowGrid(7, 7), WindowGrid(9, 2)]


class Rooms:
    """Windows of which servers see so much for the first time, and room for what they may see."""

    def __init__(self, gains, rooms):
        self.gains, self.rooms = gains, [*rooms]

    def gain(self, server, window):
        return self.gains[server][window]

    def allows(self, server, window):
        return self.gains[server][window] <= self.rooms[server]

    def give(self, server, window):
        self.rooms[server] -= self.gains[server][window]


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


def test_4096_tokens_are_computed_at_once():
    """Those of one image of 1,024 pixels, of 16 of 256."""
    assert [WindowGrid(tokens, 4).batch for tokens in (128, 64, 63, 16)] == [1, 1, 1, 16]


def test_patches_are_those_of_the_convolution():
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 5, 4, 4)
    x = torch.randn(2, 3, 12, 12)
    expected = convolution(x).flatten(2).transpose(1, 2)
    weight = convolution.weight.flatten(1)
    torch.testing.assert_close(patches(x, 4) @ weight.T + convolution.bias, expected)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_windows_have_the_content_of_the_picture(grid):
    side = 4 * grid.tokens
    for height, width in ((side, side), (side, 1), (side // 20 + 1, side), (3, side - 5)):
        covered = torch.zeros(side, side)
        for window, (top, left, bottom, right) in enumerate(grid.contents(height, width, 4)):
            covered[top:bottom, left:right] += 1
            assert (top, left) == tuple(4 * start for start in grid.box(window)[:2])
        assert (covered[:height, :width] == 1).all() and covered.sum() == height * width


def test_content_is_what_is_not_filled_up_with_zeros():
    image = torch.zeros(3, 8, 8)
    assert content_size(image) == (0, 0)
    image[1, 2, 4] = -0.5
    assert content_size(image) == (3, 5)
    assert content_size(torch.ones(3, 8, 8)) == (8, 8)


@settings(deadline=None, max_examples=300)
@given(
    ratio=st.floats(-1, 1).map(lambda power: 20**power),  # of width to height
    grid=st.sampled_from(GRIDS),
    kind=st.sampled_from(KINDS),
    secret=st.binary(min_size=1),
    data=st.data(),
)
def test_no_server_gets_more_content_than_its_bound(ratio, grid, kind, secret, data):
    """Windows with content are given away, unless there is one alone; filling stays on the edge."""
    side, servers = 16 * grid.tokens, data.draw(st.integers(1, grid.count))
    long = data.draw(st.sampled_from([side, side // 2, side // 9, 1]))
    height, width = (max(1, round(long * min(1, each))) for each in (1 / ratio, ratio))
    sizes = [area(box) for box in grid.contents(height, width, 16)]
    found = assign(kind, grid.count, servers, grid, secret, sizes=sizes)
    for server in range(servers):
        mine = sum(size for size, owner in zip(sizes, found, strict=True) if owner == server)
        share, largest = mine / (height * width), max(sizes) / (height * width)
        assert share <= 1 / servers + (1 - 1 / servers) * largest + 1e-12
        assert share < 1 or servers == 1
    alone = servers > 1 and sum(size > 0 for size in sizes) == 1
    assert [owner == EDGE for owner in found] == [size == 0 or alone for size in sizes]


@settings(deadline=None, max_examples=200)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=9, max_size=9),
    gains=st.lists(st.lists(st.integers(0, 9), min_size=9, max_size=9), min_size=3, max_size=3),
    rooms=st.lists(st.integers(0, 20), min_size=3, max_size=3),
    kind=st.sampled_from(KINDS),
)
def test_limits_of_a_picture_are_kept(sizes, gains, rooms, kind):
    grid = WindowGrid(9, 3)
    found = assign(kind, 9, 3, grid, b"secret", sizes=sizes, sight=Rooms(gains, rooms))
    for server, room in enumerate(rooms):
        mine = [window for window in range(9) if found[window] == server]
        assert sum(gains[server][window] for window in mine) <= room
        assert sum(sizes[window] for window in mine) <= bound(sizes, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_goes_where_it_was_seen_before(kind):
    grid, sizes = WindowGrid(16, 5), [1] * 16
    first = assign(kind, 16, 4, grid, b"one", 0, sizes=sizes)
    gains = [[int(owner != server) for owner in first] for server in range(4)]
    again = assign(kind, 16, 4, grid, b"two", 1, sizes=sizes, sight=Rooms(gains, [16] * 4))
    assert again == first


def test_random_goes_to_the_server_with_the_least_content():
    """Whatever the order, no window can go to one that has more: loads differ by one at most."""
    grid = WindowGrid(16, 5)
    for frame in range(20):
        found = assign("random", 16, 5, grid, b"secret", frame, sizes=[1] * 16)
        counts = [found.count(server) for server in range(5)]
        assert max(counts) - min(counts) <= 1
    owners = [assign("random", 16, 5, grid, b"secret", t)[0] for t in range(1000)]
    shares = torch.bincount(torch.tensor(owners)) / 1000
    assert (shares - 1 / 5).abs().max() < 0.05  # no server is preferred


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
