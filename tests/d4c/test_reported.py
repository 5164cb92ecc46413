import pytest

from paperlib.d4c.methods import METHODS
from paperlib.d4c.reported import reported
from paperlib.notebook.claims import load_claims
from paperlib.paths import CLAIMS


def test_the_abstract_s_gains_and_the_readme_s_seconds():
    gains = reported("gain_w4a8")
    assert len(gains) == 6 and set(gains.unit) == {"percentage points"}
    resnet = gains[gains.encoder == "RN50"]
    assert dict(zip(resnet.dataset, resnet.value, strict=True)) == {
        "CIFAR-10": 12.4,
        "CIFAR-100": 6.8,
        "ImageNet-1K": 1.4,
    }
    seconds = reported("synthesis_seconds")
    assert len(seconds) == 8 and set(seconds.method) <= set(METHODS)
    assert reported("reconstruction_seconds").value.tolist() == [6593]
    with pytest.raises(ValueError, match="quantity='gain': valid are 'gain_w4a8', 'synthesis_"):
        reported("gain")


GAINS = ("scg", "pae", "scg-to-pae", "pae-to-scg")
CLAIMED = ("w4a8", "decisive", "control", "best-control", "real", "learned", "learned-control")


def test_the_claims_of_the_paper():
    claims = {claim.id: claim for claim in load_claims(CLAIMS).values() if "d4c-" in claim.id}
    assert set(claims) == {
        *(f"d4c-1-{claim}-{tower}" for claim in CLAIMED for tower in ("resnet", "vit")),
        "d4c-1-dynamic-resnet",
        "d4c-1-dynamic-vit",
        "d4c-2-semantics",
        "d4c-2-diversity",
        *(f"d4c-3-{gain}-{tower}" for gain in GAINS for tower in ("resnet", "vit")),
        "d4c-2-information-resnet",
        "d4c-2-information-vit",
    }
    gains = reported("gain_w4a8")
    on_cifar = gains[gains.dataset == "CIFAR-10"].set_index("encoder").value
    assert claims["d4c-1-w4a8-resnet"].reported == on_cifar["RN50"]
    assert claims["d4c-1-w4a8-vit"].reported == on_cifar["ViT-B/32"]
    for claim in CLAIMED:
        stakes = {claims[f"d4c-1-{claim}-{tower}"].stake for tower in ("resnet", "vit")}
        assert stakes == {3.0 if claim == "real" else 1.0}
    assert all(claim.check.op == ">" and claim.check.value == 0 for claim in claims.values())
