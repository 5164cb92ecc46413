"""The command that segments one picture over servers."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from segment_anything import SamPredictor
from skimage import data

from paperlib.models.sam import load_sam
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.segment import main

BOX = [60, 5, 160, 150]


@pytest.fixture(scope="module")
def small():
    """The servers' addresses, of the small SAM as it is committed."""
    with local_servers(2, ["--sam", "sam-small"]) as servers:
        yield [server.address for server in servers]


@pytest.fixture
def picture(tmp_path):
    pixels = data.astronaut()[:360:2, ::2].copy()  # 180 × 256
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return pixels


def own_mask(pixels, multiple=False, **prompts):
    predictor = SamPredictor(load_sam("sam-small"))
    predictor.set_image(pixels)
    masks, scores, _ = predictor.predict(multimask_output=multiple, **prompts)
    return masks[scores.argmax()]


def command(folder, *words):
    main([str(folder / "photo.png"), "--folder", str(folder), *map(str, words)])
    return np.asarray(Image.open(folder / "photo.mask.png")) > 0


def ledger(folder):
    return pd.read_csv(folder / "photo.ledger.csv")


def test_mask_and_ledger(small, picture, tmp_path, capsys):
    mask = command(tmp_path, "--box", *BOX, "--servers", *small, "--checks", "1")
    np.testing.assert_array_equal(mask, own_mask(picture, box=np.array(BOX)))
    sent = ledger(tmp_path)
    assert set(sent.server) == set(small) and set(sent["round"]) == {0, 1}
    assert not sent.duplicated(["round", "window"]).any()  # no window went to two servers
    said = capsys.readouterr().out
    assert all(address in said for address in small) and "photo.mask.png" in said


def test_points_and_where_nothing_is_reached(picture, tmp_path, capsys):
    """Then the edge computes all of it, and the ledger is empty."""
    words = ["--point", "110", "60", "--servers", "127.0.0.1:9"]
    mask = command(tmp_path, *words)
    one = {"point_coords": np.array([[110, 60]]), "point_labels": np.array([1])}
    np.testing.assert_array_equal(mask, own_mask(picture, multiple=True, **one))
    assert ledger(tmp_path).empty and "nothing was sent" in capsys.readouterr().out
    both = {"point_coords": np.array([[110, 60], [10, 10]]), "point_labels": np.array([1, 0])}
    mask = command(tmp_path, *words, "--not-point", "10", "10")
    np.testing.assert_array_equal(mask, own_mask(picture, **both))


def test_in_half_precision(small, picture, tmp_path):
    mask = command(tmp_path, "--box", *BOX, "--servers", *small, "--precision", "bfloat16")
    own = own_mask(picture, box=np.array(BOX))
    assert (mask & own).sum() > 0.9 * (mask | own).sum()
    with pytest.raises(SystemExit):
        command(tmp_path, "--box", *BOX, "--servers", *small, "--device", "nowhere")


@pytest.mark.usefixtures("picture")
def test_the_same_secret_shows_no_server_more(small, tmp_path):
    secret, seen = tmp_path / "secret", []
    secret.write_bytes(bytes(range(32)))
    for _ in range(2):
        how = ["--assignment", "random", "--secret", secret]
        command(tmp_path, "--box", *BOX, "--servers", *small, *how)
        seen.append(ledger(tmp_path)[["server", "window"]].drop_duplicates())
    assert len(pd.concat(seen).drop_duplicates()) == len(seen[0])


@pytest.mark.usefixtures("picture")
def test_at_the_limit_it_fails_and_the_ledger_is_kept(small, tmp_path, capsys):
    words = ["--box", *BOX, "--servers", *small, "--fallback", "fail", "--exposure-limit", "0.2"]
    with pytest.raises(SystemExit):
        command(tmp_path, *words)
    assert "as much of the picture as they may" in capsys.readouterr().err
    assert ledger(tmp_path).empty and not (tmp_path / "photo.mask.png").exists()


@pytest.mark.usefixtures("picture")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to segment: give --box"),
        (["--point", "256", "5"], "point 256 5: not in the picture of 256 × 180"),
        (["--box", "30", "5", "20", "50"], "box 30 5 20 50: not left top right bottom"),
        (["--box", *map(str, BOX), "--assignment", "random"], "secret: "),
        (["--box", *map(str, BOX), "--checks", "some"], "checks some: a number or strict"),
        (["--box", *map(str, BOX), "--servers", "192.0.2.7:1"], "certificates are needed"),
    ],
)
def test_wrong_commands_are_named(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit):
        command(tmp_path, "--servers", "127.0.0.1:9", *words)
    assert said in capsys.readouterr().err
