"""What is given to the checks of claims, beside plain sums."""

import pandas as pd
import pytest

from paperlib.d4c import claimed
from paperlib.d4c.ablation import part_gains, part_stakes
from paperlib.d4c.tables import over_draws
from paperlib.notebook.claims import load_claims


def gains(bits="W4A3", draws=(0, 1, 2)):
    rows = [[encoder, bits, k, *range(k, k + 8)] for encoder in ("resnet", "vit") for k in draws]
    columns = ["gain", "above the spectrum", "above the middle"]
    columns += ["real minus noise", "real minus baseline", "real minus spectrum"]
    columns += ["above the best control", "real minus the best control"]
    return pd.DataFrame(rows, columns=["encoder", "bits", "draw", *columns])


def test_gains_stand_beside_what_is_at_stake():
    decisive = {"resnet": "W4A3", "vit": "W2A8"}  # which the ViT's rows do not have
    found = list(claimed.gain_claims(gains(), decisive, 300))
    names = ["decisive", "control", "best-control", "real"]
    assert [one.claim for one in found] == [f"d4c-1-{name}-resnet" for name in names]
    assert [one.values for one in found] == [[0, 1, 2], [1, 2, 3], [6, 7, 8], [2, 3, 4]]
    stakes = ([4, 5, 6], [5, 6, 7], [7, 8, 9], [3, 4, 5])
    for one, stake in zip(found, stakes, strict=True):
        assert one.encoder == "resnet"
        assert one.about == {
            "interval": over_draws(one.values),
            "over": "draws",
            "stake": over_draws(stake),
            "scale": "ResNet, W4A3; 300 images, 3 draws",
        }


def test_the_learned_rounding_has_claims_of_its_own():
    found = list(claimed.gain_claims(gains(), {"vit": "W4A3"}, 300, claimed.LEARNED))
    assert [one.claim for one in found] == ["d4c-1-learned-vit", "d4c-1-learned-control-vit"]
    plain = list(claimed.gain_claims(gains(), {"vit": "W4A3"}, 300))
    assert [one[1:] for one in found] == [one[1:] for one in plain[:2]]


def test_one_draw_has_no_interval():
    (first, *_) = claimed.gain_claims(gains(draws=[0]), {"vit": "W4A3"}, 20)
    assert first.values == [0] and first.about["scale"] == "ViT, W4A3; 20 images, 1 draws"
    assert (first.about["interval"], first.about["over"], first.about["stake"]) == (None, "", None)


def test_the_paper_s_bits_alone():
    both = pd.concat([gains(), gains("W4A8")])
    found = list(claimed.paper_bits_claims(both, 300))
    assert [one.claim for one in found] == ["d4c-1-w4a8-resnet", "d4c-1-w4a8-vit"]
    assert all(one.values == [0, 1, 2] for one in found)
    assert found[1].about["stake"] == over_draws([4, 5, 6])
    assert found[1].about["scale"] == "ViT; 300 images, 3 draws"


def test_dynamic_activations():
    above = gains().set_index(["encoder", "draw"]).gain.to_frame("d4c")
    above["real"] = 2 * above.d4c + 1
    found = list(claimed.dynamic_claims(above, 300))
    assert [one.claim for one in found] == ["d4c-1-dynamic-resnet", "d4c-1-dynamic-vit"]
    assert found[0].values == [0, 1, 2]
    assert found[0].about["stake"] == pytest.approx(over_draws([1, 3, 5]))


def test_each_part_has_its_claim():
    index = pd.MultiIndex.from_product([["vit"], [0, 1]], names=["encoder", "draw"])
    wide = {"pgsi": 10.0, "pgsi_scg": 13.0, "pgsi_pae": [8.0, 7.0], "d4c": [20.0, 21.0]}
    wide = pd.DataFrame({**wide, "real": [21.0, 20.0]}, index=index)
    found = list(claimed.part_claims(part_gains(wide), part_stakes(wide), 300))
    stakes = {one.claim: one.about["stake"] for one in found}
    assert stakes["d4c-3-scg-to-pae-vit"] == pytest.approx((13, 13))
    assert stakes["d4c-3-scg-vit"] == stakes["d4c-3-pae-vit"] == over_draws([11, 10])
    assert stakes["d4c-3-pae-to-scg-vit"] == over_draws([8, 7])
    values = {one.claim: one.values for one in found}
    assert values == {
        "d4c-3-scg-vit": [3, 3],
        "d4c-3-pae-vit": [-2, -3],
        "d4c-3-scg-to-pae-vit": [12, 14],
        "d4c-3-pae-to-scg-vit": [7, 8],
    }
    assert {one.claim for one in found} <= set(load_claims())


def test_information_is_ahead_of_the_best_rival():
    told = {("vit", k, "real"): 9.0 + k for k in range(2)}
    told |= {("vit", k, "gaussian"): 1.0 for k in range(2)}
    told |= {("vit", k, "pse"): 2.0 * k for k in range(2)}
    told |= {("vit", k, "d4c"): 5.0 for k in range(2)}
    told[("resnet", 0, "bns")] = 3.0
    told |= {("resnet", 0, method): 4.0 for method in ("real", "gaussian", "d4c")}
    found = {one.claim: one for one in claimed.information_claims(told, 32)}
    vit, resnet = (found[f"d4c-2-information-{name}"] for name in ("vit", "resnet"))
    assert vit.values == [4, 3] and vit.about["stake"] == pytest.approx(over_draws([8, 8]))
    assert vit.about["scale"] == "ViT, judged by the other; 32 images, 2 draws"
    assert resnet.values == [0]
