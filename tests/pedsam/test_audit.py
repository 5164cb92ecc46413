"""What servers would see, told before anything is sent."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from paperlib.models.sam import load_sam
from paperlib.pedsam.attacks.detection import FILLED, REBUILT, VIEW
from paperlib.pedsam.attacks.detectors import load_detectors
from paperlib.pedsam.attacks.privacy import ATTACKS
from paperlib.pedsam.audit import audit, main, page
from paperlib.pedsam.remote.network import NETWORKS
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.segment import main as segment

WIDE = data.astronaut()[:320, :512]  # 320 × 512, with one face


@pytest.fixture(scope="module")
def sam():
    return load_sam("sam-small")


@pytest.fixture(scope="module")
def wide(sam):
    return audit(sam, WIDE, 4, committed=True)


def test_shares_are_those_of_what_is_seen_and_within_the_bound(wide):
    assert (wide.servers.share <= wide.servers.bound).all()
    assert wide.kept == 0 and wide.servers.share.sum() >= 1  # what resizing mixes overlaps
    shown = np.stack(wide.images[VIEW]).any(3)  # black pixels of the picture itself are few
    assert (shown.sum(0) <= 1).all()  # no pixel by two servers
    np.testing.assert_allclose(shown.mean((1, 2)), wide.servers.share, atol=0.02)
    for view in wide.images[VIEW]:
        mine = view.any(2)
        np.testing.assert_array_equal(view[mine], wide.picture[mine])


def test_the_reconstruction_keeps_what_is_seen_and_is_better_than_nothing(wide):
    images = (wide.images[name] for name in (VIEW, FILLED, REBUILT))
    for view, fill, rebuilt, row in zip(*images, wide.servers.itertuples(), strict=True):
        mine = view.any(2)
        np.testing.assert_array_equal(rebuilt[mine], view[mine])
        np.testing.assert_array_equal(fill[mine], view[mine])
        colours = np.unique(fill[~mine & fill.any(2)], axis=0)  # its own black pixels stay
        assert len(colours) == 1
        np.testing.assert_allclose(colours[0], view[mine].mean(0), atol=10)
        near, plain = (
            peak_signal_noise_ratio(wide.picture[~mine], guess[~mine]) for guess in (rebuilt, fill)
        )
        assert near > plain and row.attack != ATTACKS["mean_fill"].title


def test_faces_are_found_again_where_all_is_seen(sam, wide):
    """A server alone sees everything; of four, those that see little of the face do not find it."""
    whole = audit(sam, WIDE, 1)
    assert len(whole.reference["faces"]) >= 1
    assert "<p>Server 1 gets the whole picture.</p>" in page("one", {"1 server": whole}, "these")
    assert "gets the whole picture" not in page("four", {"4 servers": wide}, "these")
    assert (whole.detections.recall == 1).all() and (whole.detections.precision == 1).all()
    np.testing.assert_array_equal(whole.images[VIEW][0], whole.picture)
    assert whole.servers.attack.tolist() == ["nothing is unseen"]
    assert wide.detections.xs(VIEW, level="image").recall.min() == 0


def test_detections_are_those_of_the_detectors_given(sam, detectors):
    """Of a blue square in one window, the server that has it finds all, the other three nothing."""
    picture = np.full((320, 320, 3), (90, 90, 0), np.uint8)
    picture[40:56, 40:56] = (0, 0, 255)
    seen = audit(sam, picture, 4, detectors=load_detectors(detectors))
    views = seen.detections.xs(VIEW, level="image")
    assert set(views.index.get_level_values("what")) == {"objects", "faces"}
    has = [(view[40:56, 40:56] > 0).any() for view in seen.images[VIEW]]
    for what in ("objects", "faces"):
        rows = views.xs(what, level="what")
        assert (rows.reference == len(seen.reference[what])).all() and rows.reference.min() >= 1
        assert rows.recall.tolist() == has and sum(has) == 1
        assert rows.found.tolist() == [len(each[what]) for each in seen.found[VIEW]]


def test_tokens_are_attacked_only_where_the_attack_knows_the_encoder(sam, monkeypatch):
    """With an attack that would always win."""
    perfect = replace(ATTACKS["tokens"], fill=lambda targets, seen: targets.images)
    monkeypatch.setitem(ATTACKS, "tokens", perfect)
    assert set(audit(sam, WIDE, 2, committed=True).servers.attack) == {perfect.title}
    assert perfect.title not in set(audit(sam, WIDE, 2).servers.attack)


def test_bytes_and_times(wide):
    assert wide.sent[0] > 160 * 256 * 3 and wide.sent[1] > 0
    assert [*dict.fromkeys(wide.times.index.get_level_values(0))] == [n.name for n in NETWORKS]
    parts = wide.times[["edge", "servers", "transfer"]]
    pd.testing.assert_series_equal(parts.sum(axis=1), wide.times.seconds, check_names=False)
    coarse = audit(load_sam("sam-small"), WIDE, 4, form="int8")
    assert coarse.sent[0] < 0.3 * wide.sent[0]


def test_what_is_shown_is_what_is_sent(tmp_path, capsys):
    """The command's shares are those of the ledger of `paperlib.pedsam.segment`."""
    Image.fromarray(WIDE).save(tmp_path / "photo.png")
    (tmp_path / "secret").write_bytes(bytes(range(32)))
    words = [str(tmp_path / "photo.png"), "--folder", str(tmp_path)]
    words += ["--assignment", "random", "--secret", str(tmp_path / "secret")]
    main([*words, "--servers", "3"])
    html = (tmp_path / "photo.png.audit.html").read_text()
    assert len(re.findall("src=.data:image/png;base64,", html)) == 1 + 3 * 3
    assert not re.search(r"(src|href)=.(?!data:)", html)
    said = capsys.readouterr().out
    shares = [float(x) for x in re.findall(r"^\d +(0\.\d+) ", said, re.M)]
    with local_servers(3, ["--sam", "sam-small"]) as servers:
        addresses = [server.address for server in servers]
        segment([*words, "--box", "20", "20", "300", "300", "--servers", *addresses])
    sent = pd.read_csv(tmp_path / "photo.png.ledger.csv").drop_duplicates(["server", "window"])
    sizes = sent.groupby("server").size()[addresses].tolist()
    how = {"assignment": "random", "secret": bytes(range(32))}
    told = audit(load_sam("sam-small"), WIDE, 3, **how).servers
    assert told.windows.tolist() == sizes
    assert told.share.round(3).tolist() == shares


def test_wrong_commands_are_named(tmp_path, capsys):
    Image.fromarray(WIDE).save(tmp_path / "photo.png")
    for words, said in [
        (["--servers", "17"], "17 servers for 16 windows"),
        (["--assignment", "random"], "secret: "),
        (["--secret", str(tmp_path / "none")], "none"),
        (["--detectors", str(tmp_path)], "nanodet_m.onnx: no such file"),
    ]:
        with pytest.raises(SystemExit):
            main([str(tmp_path / "photo.png"), *words])
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
