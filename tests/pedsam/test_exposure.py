"""What notebook 6 shows of crops and of servers that lie."""

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from paperlib.models.sam import IMAGE, load_sam
from paperlib.pedsam import exposure

SECRET = b"of the edge"


@pytest.fixture(scope="module")
def sam():
    return load_sam("sam-small")


def test_crops_of_an_open_picture_keep_its_bound(sam):
    """Without it, the same encodings show a server more."""
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    table = exposure.crops_table("sam-small", sam, picture, (2,), 1, SECRET)
    shares = table.set_index(["picture", "layers of crops"])
    assert shares.encodings.tolist() == [1, 5, 1, 5]
    assert (shares.bound == (1 + 96**2 / (240 * 320)) / 2).all()
    assert (shares.share <= shares.bound).loc["open"].all()
    assert shares.share["open", 0] == pytest.approx(shares.share["not open", 0])
    assert shares.share["not open", 1] > shares.bound.iloc[0] + 0.1
    assert shares.edge["not open", 1] == pytest.approx(0) and 0 < shares.edge["open", 1] < 0.5


def test_spot_checks_are_counted(sam):
    x = torch.randn(1, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(0))
    table = exposure.checks_table(sam.image_encoder, x, 20, SECRET)
    assert table.formula.tolist() == pytest.approx(
        [hypergeom.sf(0, 16, m, r) for m, r in zip(table.false, table.checked, strict=True)]
    )
    assert table.measured.iloc[0] < table.measured.iloc[-1]
    assert (table["edge, ms"] > 0).all()
