"""The ledger: nothing goes to a server beyond its assignment, and everything sent is in it."""

import pytest

from paperlib.pedsam.remote.ledger import ExposureError, Ledger

SERVERS = ("a", "b", "c")


@pytest.fixture
def ledger():
    return Ledger(windows=6)


def test_entries_and_shares(ledger):
    image = ledger.begin((0, 1, 2, 0, 1, 2), SERVERS)
    ledger.record(image, 0, "a", [0, 3], pixels=True)
    ledger.record(image, 1, "a", [0, 3], pixels=False)
    ledger.record(image, 0, "b", [1], pixels=True)
    assert ledger.table().to_dict("list") == {
        "image": [0] * 5,
        "round": [0, 0, 1, 1, 0],
        "server": ["a"] * 4 + ["b"],
        "window": [0, 3, 0, 3, 1],
        "pixels": [True, True, False, False, True],
    }
    exposure = ledger.exposure().set_index(["image", "server"])
    assert exposure.loc[(0, "a")].to_dict() == {"windows": 2, "rounds": 2, "share": 2 / 6}
    assert exposure.loc[(0, "b")].to_dict() == {"windows": 1, "rounds": 1, "share": 1 / 6}
    assert (0, "c") not in exposure.index


@pytest.mark.parametrize(("server", "windows"), [("a", [0, 1]), ("a", [6]), ("stranger", [0])])
def test_nothing_beyond_the_assignment(ledger, server, windows):
    image = ledger.begin((0, 1, 2, 0, 1, 2), SERVERS)
    with pytest.raises(ExposureError, match="not assigned to"):
        ledger.record(image, 0, server, windows, pixels=True)
    assert ledger.table().empty


def test_every_image_has_its_own_assignment(ledger):
    first = ledger.begin((0, 0, 0, 1, 1, 1), SERVERS)
    second = ledger.begin((1, 1, 1, 0, 0, 0), SERVERS)
    ledger.record(second, 0, "a", [3], pixels=True)
    with pytest.raises(ExposureError):
        ledger.record(first, 0, "a", [3], pixels=True)
    assert ledger.allowed(first, "a") == {0, 1, 2}
    assert ledger.allowed(second, "c") == set()


def test_a_spare_takes_the_windows_of_one_failed_server(ledger):
    image = ledger.begin((0, 1, 2, 0, 1, 2), SERVERS)
    ledger.appoint(image, "spare", instead_of="b")
    ledger.record(image, 0, "spare", [1, 4], pixels=True)
    with pytest.raises(ExposureError):
        ledger.record(image, 0, "spare", [0], pixels=True)
    for helper, failed in [("spare", "c"), ("a", "b")]:
        with pytest.raises(ExposureError, match="can take no other"):
            ledger.appoint(image, helper, instead_of=failed)
    again = ledger.begin((0, 1, 2, 0, 1, 2), SERVERS)
    ledger.appoint(again, "spare", instead_of="c")


def test_wrong_assignments_are_named(ledger):
    with pytest.raises(ValueError, match="5 windows: expected 6"):
        ledger.begin((0,) * 5, SERVERS)
    with pytest.raises(ValueError, match="not 0 to 2"):
        ledger.begin((0, 1, 2, 3, 0, 0), SERVERS)
    with pytest.raises(ValueError, match="stands twice"):
        ledger.begin((0,) * 6, ("a", "a"))
