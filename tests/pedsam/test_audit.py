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
from paperlib.pedsam.attacks.privacy import ATTACKS
from paperlib.pedsam.audit import again, audit, find_faces, main, page
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
    shown = np.stack(wide.views).any(3)  # black pixels of the picture itself are few
    assert (shown.sum(0) <= 1).all()  # no pixel by two servers
    np.testing.assert_allclose(shown.mean((1, 2)), wide.servers.share, atol=0.02)
    for view in wide.views:
        mine = view.any(2)
        np.testing.assert_array_equal(view[mine], wide.picture[mine])


def test_the_reconstruction_keeps_what_is_seen_and_is_better_than_nothing(wide):
    for view, rebuilt, row in zip(wide.views, wide.rebuilt, wide.servers.itertuples(), strict=True):
        mine = view.any(2)
        np.testing.assert_array_equal(rebuilt[mine], view[mine])
        fill = np.where(mine[..., None], view, view[mine].mean(0).astype(np.uint8))
        near, plain = (
            peak_signal_noise_ratio(wide.picture[~mine], guess[~mine]) for guess in (rebuilt, fill)
        )
        assert near > plain and row.attack != ATTACKS["mean_fill"].title


def test_faces_are_found_again_where_all_is_seen(sam, wide):
    """A server alone sees everything; of four, those that see little of the face do not find it."""
    whole = audit(sam, WIDE, 1)
    assert len(whole.faces) >= 1
    assert "<p>Server 1 gets the whole picture.</p>" in page("one", {"1 server": whole})
    assert "gets the whole picture" not in page("four", {"4 servers": wide})
    assert whole.servers["faces in the view"].tolist() == [len(whole.faces)]
    np.testing.assert_array_equal(whole.views[0], whole.picture)
    assert whole.servers.attack.tolist() == ["nothing is unseen"]
    assert wide.servers["faces in the view"].min() == 0


def test_overlap_decides_what_is_the_same_face():
    assert again([(0, 0, 10, 10), (50, 50, 10, 10)], [(2, 0, 10, 10), (70, 50, 10, 10)]) == 1
    assert again([(0, 0, 10, 10)], [(5, 0, 10, 10)]) == 0  # a third
    assert find_faces(np.zeros((10, 300, 3), np.uint8)) == []


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
    assert len(re.findall("src=.data:image/png;base64,", html)) == 1 + 2 * 3
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
    ]:
        with pytest.raises(SystemExit):
            main([str(tmp_path / "photo.png"), *words])
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
