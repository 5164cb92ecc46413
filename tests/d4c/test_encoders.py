"""The CLIPs of a notebook: the small ones, or one that is named, with the sizes for it."""

import open_clip
import pytest
import torch

from paperlib.d4c.encoders import chosen_encoders
from paperlib.d4c.settings import Settings
from paperlib.d4c.sizes import SHORT_D4C, SIZES, TINY_D4C
from paperlib.models.clip import image_size, small_clip_name
from paperlib.paths import CHECKPOINTS

QUANTIZATION, SYNTHESIS = SIZES["12_quantization"]["default"], SIZES["11_synthesis"]["smoke"]


def test_without_a_name_they_are_the_small_ones_of_the_profile():
    clips, own = chosen_encoders("openmoji", QUANTIZATION)
    assert set(clips) == {"resnet", "vit"} and own is QUANTIZATION and own.published


@pytest.mark.parametrize("tower", ["resnet", "vit"])
def test_a_named_one_takes_their_place_and_its_images_are_made_here(tower):
    name = small_clip_name(tower, "cifar10")
    (found,), own = chosen_encoders("openmoji", QUANTIZATION, model=name)
    assert found == tower and own.encoders == {tower: SHORT_D4C} and not own.published
    assert own.bits == QUANTIZATION.bits
    (found,), own = chosen_encoders("openmoji", SYNTHESIS, model=name)
    assert found == tower and own.encoders == {tower: TINY_D4C}  # the profile has a ResNet alone
    _, own = chosen_encoders("openmoji", QUANTIZATION, model=name, full=True)
    assert Settings(**own.encoders[tower]) == Settings()


def test_weights_go_with_a_config_of_open_clip(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), path)
    given = {"model": "ViT-S-32-alt", "weights": str(path)}
    clips, own = chosen_encoders("cifar10", QUANTIZATION, **given, place=torch.device("cpu"))
    model, tokenizer = clips["vit"]
    assert image_size(model) == 224 and tokenizer(["a dog"]).shape == (1, 77)
    assert list(own.encoders) == ["vit"]


def test_what_is_not_valid_is_said():
    with pytest.raises(ValueError, match="name the model too, such as model='RN50'"):
        chosen_encoders("openmoji", QUANTIZATION, weights=str(CHECKPOINTS))
    with pytest.raises(ValueError, match="name='RN51': valid are our checkpoints"):
        chosen_encoders("openmoji", QUANTIZATION, model="RN51")
