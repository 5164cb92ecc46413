"""Fingerprints see every byte, its place and its type."""

import pytest
import torch
from torch import nn

from paperlib.files import fingerprint


def test_equal_content_has_the_same_fingerprint(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    copy = nn.Linear(3, 2)
    copy.load_state_dict(model.state_dict())
    assert fingerprint(model) == fingerprint(copy)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    for name in "ab":
        (tmp_path / name).write_bytes(b"content")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    x = torch.arange(12.0).view(3, 4)
    assert fingerprint(x.T) == fingerprint(x.T.contiguous())


ROWS = torch.arange(6.0).view(3, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ROWS, ROWS.flip(0)),
        (ROWS, ROWS.flip(1)),
        (ROWS, ROWS.view(2, 3)),
        (ROWS, ROWS.double()),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        ([1, 2], [2, 1]),
        ([1, [2]], [[1], 2]),
        (["ab", "c"], ["a", "bc"]),
        ([b"ab", b"c"], [b"a", b"bc"]),
        (b"1", "1"),
        (1, 1.0),
        (1, True),
        (0, None),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    ],
    ids=repr,
)
def test_other_content_has_another_fingerprint(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_a_value_without_a_fingerprint_is_refused():
    with pytest.raises(TypeError, match="no fingerprint of a object"):
        fingerprint(object())
