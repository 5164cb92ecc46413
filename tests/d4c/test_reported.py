import pytest

from paperlib.d4c.pipeline import METHODS
from paperlib.d4c.reported import reported


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
