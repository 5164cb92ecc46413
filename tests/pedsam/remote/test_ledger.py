"""The ledger: nothing goes to a server beyond its assignment, and everything sent is in it."""

import pytest

from paperlib.pedsam.remote.ledger import ExposureError, Ledger
from paperlib.pedsam.remote.picture import Found, Picture
from paperlib.pedsam.split.partition import EDGE, area

SERVERS = ("a", "b", "c")
# the last window only fills up
PLACES = [(0, 2 * k, 2, 2 * k + 2) for k in range(4)] + [(0, 8, 2, 9), (0, 9, 0, 9)]


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def begin(ledger):
    """Start an image; unless one is given, of a picture of its own without a limit."""

    def start(assignment, picture=None, servers=SERVERS, places=PLACES):
        picture = picture or Picture(0, 2, 9, limit=18)
        sizes = [area(place) for place in places]
        found = Found(0, picture, picture.whole, sizes, places, most=18)
        return ledger.begin(assignment, servers, found)

    return start


def test_entries_and_shares(ledger, begin):
    image = begin((0, 1, 2, 2, 0, EDGE))
    ledger.record(image, 0, "a", [0, 4], pixels=True)
    ledger.record(image, 1, "a", [0, 4], pixels=False)
    ledger.record(image, 0, "b", [1], pixels=True)
    assert ledger.table().to_dict("list") == {
        "image": [0] * 5,
        "round": [0, 0, 1, 1, 0],
        "server": ["a"] * 4 + ["b"],
        "window": [0, 4, 0, 4, 1],
        "pixels": [True, True, False, False, True],
    }
    exposure = ledger.exposure().set_index(["image", "server"])
    assert exposure.loc[(0, "a")].to_dict() == {"windows": 2, "rounds": 2, "share": 6 / 18}
    assert exposure.loc[(0, "b")].to_dict() == {"windows": 1, "rounds": 1, "share": 4 / 18}
    assert (0, "c") not in exposure.index
    assert ledger.kept(image, content=False) == {5} and not ledger.kept(image, content=True)


@pytest.mark.parametrize(("server", "windows"), [("a", [0, 1]), ("a", [5]), ("stranger", [0])])
def test_nothing_beyond_the_assignment(ledger, begin, server, windows):
    image = begin((0, 1, 2, 0, 1, EDGE))
    with pytest.raises(ExposureError, match="not assigned to"):
        ledger.record(image, 0, server, windows, pixels=True)
    assert ledger.table().empty


def test_no_server_gets_more_of_an_image_than_its_bound(begin):
    begin((0, 0, 1, 1, 2, EDGE))  # (18 + 2 · 4) / 3 pixels
    with pytest.raises(ExposureError, match="a would get more of an image than its bound"):
        begin((0, 0, 1, 2, 0, EDGE))


def test_what_two_windows_read_counts_once(ledger, begin):
    """Each of these reads a column of its neighbour."""
    places = [(0, 0, 2, 3), (0, 2, 2, 5), (0, 4, 2, 7), (0, 6, 2, 9), (0, 8, 2, 9), (0, 0, 0, 0)]
    image = begin((0, 0, 1, 2, 2, EDGE), places=places)
    for server, windows in (("a", [0, 1]), ("b", [2])):
        ledger.record(image, 0, server, windows, pixels=True)
    assert ledger.exposure().share.tolist() == ledger.pictures().share.tolist() == [10 / 18, 6 / 18]
    assert ledger.stayed(image) == pytest.approx(1 - 14 / 18)


def test_no_server_gets_more_of_a_picture_than_its_limit(ledger, begin):
    picture = Picture(0, 2, 9, limit=8)
    begin((0, 0, 1, 2, EDGE, EDGE), picture)
    begin((0, 0, 2, 1, EDGE, EDGE), picture)  # b and c have seen both now
    assert ledger.kept(1, content=True) == {4}
    with pytest.raises(ExposureError, match="b would get more of a picture than its limit"):
        begin((0, 1, EDGE, EDGE, EDGE, EDGE), picture)


def test_images_of_a_picture_add_up(ledger, begin):
    picture = Picture(7, 2, 9, limit=18)
    for assignment in ((0, 1, 2, 0, EDGE, EDGE), (1, 0, 2, 0, EDGE, EDGE)):
        image = begin(assignment, picture)
        ledger.record(image, 0, "a", ledger.allowed(image, "a"), pixels=True)
    assert ledger.pictures().to_dict("records") == [
        {"picture": 7, "server": "a", "images": 2, "share": 12 / 18}
    ]
    assert ledger.exposure().share.tolist() == [8 / 18] * 2


def test_every_image_has_its_own_assignment(ledger, begin):
    first, second = begin((0, 0, 1, 1, EDGE, EDGE)), begin((1, 1, 0, 0, EDGE, EDGE))
    ledger.record(second, 0, "a", [3], pixels=True)
    with pytest.raises(ExposureError):
        ledger.record(first, 0, "a", [3], pixels=True)
    assert ledger.allowed(first, "a") == {0, 1}
    assert ledger.allowed(second, "c") == set()


def test_a_spare_takes_the_windows_of_one_failed_server(ledger, begin):
    image = begin((0, 1, 2, 2, 1, EDGE))
    ledger.appoint(image, "spare", instead_of="b")
    ledger.record(image, 0, "spare", [1, 4], pixels=True)
    with pytest.raises(ExposureError):
        ledger.record(image, 0, "spare", [0], pixels=True)
    for helper, failed in [("spare", "c"), ("a", "b")]:
        with pytest.raises(ExposureError, match="can take no part"):
            ledger.appoint(image, helper, instead_of=failed)
    ledger.appoint(begin((0, 1, 2, 2, 1, EDGE)), "spare", instead_of="c")


def test_a_spare_keeps_the_limit_of_a_picture(ledger, begin):
    picture = Picture(0, 2, 9, limit=8)
    first = begin((0, 0, 1, 1, EDGE, EDGE), picture)
    second = begin((0, EDGE, 1, EDGE, EDGE, EDGE), picture)
    ledger.appoint(first, "spare", instead_of="a")
    assert ledger.may_appoint([second], "spare", instead_of="a")  # it has seen that already
    assert not ledger.may_appoint([second], "spare", instead_of="b")
    with pytest.raises(ExposureError, match="can take no part"):
        ledger.appoint(second, "spare", instead_of="b")


def test_a_spare_keeps_the_limit_over_images_that_go_together(ledger, begin):
    picture = Picture(0, 2, 9, limit=8)
    ledger.appoint(begin((EDGE, EDGE, EDGE, 1, EDGE, EDGE), picture), "spare", instead_of="b")
    images = [
        begin((0, EDGE, 2, EDGE, EDGE, EDGE), picture),
        begin((EDGE, 0, 2, EDGE, EDGE, EDGE), picture),
    ]
    assert all(ledger.may_appoint([image], "spare", instead_of="a") for image in images)
    assert not ledger.may_appoint(images, "spare", instead_of="a")


def test_wrong_assignments_are_named(begin):
    with pytest.raises(ValueError, match="5 windows: not 6"):
        begin((0,) * 5)
    with pytest.raises(ValueError, match="not 0 to 2"):
        begin((0, 1, 2, 3, 0, 0))
    with pytest.raises(ValueError, match="stands twice"):
        begin((0,) * 6, servers=("a", "a"))
