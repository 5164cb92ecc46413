"""The CNNs against plain restatements, and their exact sizes."""

import pytest
import torch

from paperlib.models.cnn import CNNS, BasicBlock, build_cnn, folded

PARAMETERS = {
    # He et al., table 6: 0.27 M. Stem, 6 + 6 + 6 convolutions, two batch-norm vectors each, linear
    "resnet20": 16 * 27
    + 6 * 16 * 144
    + (32 * 144 + 5 * 32 * 288)
    + (64 * 288 + 5 * 64 * 576)
    + 2 * (7 * 16 + 6 * 32 + 6 * 64)
    + 650,
    "resnet14": 32 * 27
    + 4 * 32 * 288
    + (64 * 288 + 3 * 64 * 576)
    + (128 * 576 + 3 * 128 * 1152)
    + 2 * (5 * 32 + 4 * 64 + 4 * 128)
    + 1290,
    "resnet32": 16 * 27
    + 10 * 16 * 144
    + (32 * 144 + 9 * 32 * 288)
    + (64 * 288 + 9 * 64 * 576)
    + 2 * (11 * 16 + 10 * 32 + 10 * 64)
    + 650,  # ibid. 0.46 M
    "vgg_small": 9 * (3 * 32 + 32 * 64 + 64**2 + 64 * 128 + 128**2 + 128 * 256 + 256**2)
    + 2 * (32 + 64 + 64 + 128 + 128 + 256 + 256)
    + 2570,
    "linear": 3072 * 10 + 10,
}


@pytest.mark.parametrize("name", CNNS)
def test_number_of_parameters(name):
    assert sum(p.numel() for p in build_cnn(name).parameters()) == PARAMETERS[name]
    assert PARAMETERS["resnet20"] == 269_722


@pytest.mark.parametrize("name", CNNS)
@torch.inference_mode()
def test_same_as_the_plain_restatement(name, randomised, images, plain):
    model = randomised(name)
    expected = plain[name](model.state_dict(), images())
    assert expected.std() > 0.01
    torch.testing.assert_close(model(images()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CNNS)
def test_folding_leaves_logits_and_gradients_and_no_batch_norm(name, randomised, images):
    model = randomised(name)
    x, y = images().requires_grad_(), images().requires_grad_()
    quick = folded(model)
    torch.testing.assert_close(quick(y), model(x), rtol=1e-4, atol=1e-4)
    model(x)[:, 3].sum().backward()
    quick(y)[:, 3].sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-3, atol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in quick.modules())
    convolutions = [m for m in quick.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(convolution.bias is not None for convolution in convolutions)
    assert name == "linear" or any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())


def test_names_of_the_weights_are_the_published_ones():
    keys = {key for key in build_cnn("resnet20").state_dict() if "num_batches" not in key}
    norm = ("weight", "bias", "running_mean", "running_var")
    expected = {"conv1.weight", "linear.weight", "linear.bias"} | {f"bn1.{key}" for key in norm}
    for stage in (1, 2, 3):
        for block in (0, 1, 2):
            for number in (1, 2):
                name = f"layer{stage}.{block}"
                expected.add(f"{name}.conv{number}.weight")
                expected |= {f"{name}.bn{number}.{key}" for key in norm}
    assert keys == expected


def test_shortcut_subsamples_and_pads():
    """With the second batch norm at zero, a block is its shortcut."""
    block = BasicBlock(4, 8, 2).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 4, 6, 6)
    out = block(x)
    assert out.shape == (2, 8, 3, 3)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert not out[:, :2].any() and not out[:, 6:].any()


@pytest.mark.parametrize("name", CNNS)
def test_a_logit_depends_on_its_own_image_only(name, randomised, images):
    model = randomised(name)
    with torch.inference_mode():
        together = model(images())
        alone = torch.cat([model(image[None]) for image in images()])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CNNS)
def test_gradients_reach_the_pixels(name, randomised, images):
    x = images().requires_grad_()
    randomised(name)(x)[:, 3].sum().backward()
    assert (x.grad.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("name", ["resnet20", "vgg_small"])
def test_other_sizes_of_images(name, randomised, images):
    with torch.inference_mode():
        assert randomised(name)(images(2, 64)).shape == (2, 10)


def test_unknown_name():
    with pytest.raises(
        ValueError, match="'resnet18' is unknown: valid are resnet20, resnet32, resnet14"
    ):
        build_cnn("resnet18")
