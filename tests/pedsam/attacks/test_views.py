import pytest
import torch

from paperlib.pedsam.attacks.views import draw_mixed_views, draw_views, to_pixels
from paperlib.pedsam.split.partition import WindowGrid, assign, visible_pixels

GRID = WindowGrid(tokens=7, window=2)  # 4 × 4 windows, the last of a row one token wide


@pytest.mark.parametrize("kind", ["contiguous", "interleaved", "random"])
@pytest.mark.parametrize(("servers", "colluding"), [(1, 1), (4, 1), (4, 3), (16, 2)])
def test_views_are_unions_of_servers(kind, servers, colluding):
    views = draw_views(GRID, kind, servers, colluding, 40, seed=3)
    assert torch.equal(views, draw_views(GRID, kind, servers, colluding, 40, seed=3))
    possible = {view.numpy().tobytes() for view in views}
    assert len(possible) > 1 or servers == 1
    if colluding == 1 and kind != "random":
        assignment = assign(kind, GRID.count, servers, GRID)
        alone = [visible_pixels(GRID, assignment, [server], 1) for server in range(servers)]
        assert possible <= {view.numpy().tobytes() for view in alone}
    corners = views[:, ::2, ::2].flatten(1).sum(1)  # a token of each window
    if kind == "random":  # equal content, not equal numbers of windows
        least, most = (49 - 3 * 4) // servers, (49 + (servers - 1) * 4) // servers
        seen = views.flatten(1).sum(1)
        assert (seen <= colluding * most).all() and (seen.float().mean() > colluding * least)
    else:
        assert set(corners.tolist()) == {GRID.count * colluding // servers}


def test_random_views_differ_and_cover_all():
    views = draw_views(GRID, "random", 4, 1, 60, seed=0)
    assert len({view.numpy().tobytes() for view in views}) > 50
    assert views.any(0).all()
    assert not torch.equal(views, draw_views(GRID, "random", 4, 1, 60, seed=1))


def test_mixed_views_hide_something_and_show_something():
    views = draw_mixed_views(GRID, (2, 16), 80, seed=0)
    shown = views.flatten(1).sum(1)
    assert views.shape == (80, 7, 7) and shown.min() > 0 and shown.max() < 49
    assert torch.equal(views, draw_mixed_views(GRID, (2, 16), 80, seed=0))
    assert draw_mixed_views(GRID, (1,), 5, seed=0).all()


def test_to_pixels_repeats_tokens():
    view = draw_views(GRID, "random", 4, 2, 3, seed=0)
    pixels = to_pixels(view, 21)
    assert torch.equal(pixels[:, ::3, ::3], view) and torch.equal(pixels[:, 2::3, 1::3], view)
    assignment = assign("interleaved", GRID.count, 2, GRID)
    tokens, fine = (visible_pixels(GRID, assignment, [1], patch) for patch in (1, 5))
    assert torch.equal(to_pixels(tokens[None], 35)[0], fine)


@pytest.mark.usefixtures("unchecked")
def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="colluding=5: 1 to servers=4"):
        draw_views(GRID, "random", 4, 5, 1, seed=0)
    with pytest.raises(ValueError, match="size=20: multiples of 7"):
        to_pixels(torch.ones(1, 7, 7, dtype=torch.bool), 20)
    with pytest.raises(ValueError, match="kind='diagonal'"):
        draw_views(GRID, "diagonal", 4, 1, 1, seed=0)
