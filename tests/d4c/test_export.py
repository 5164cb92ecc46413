"""Image towers as files of torch.export and ONNX: integer weights, their size, equal features."""

import onnx
import pytest
import torch
from onnx import numpy_helper

from paperlib.d4c.export import export, largest_differences, load_exported, main
from paperlib.d4c.exported_layers import PackedWeight, packed_width
from paperlib.d4c.folding import fold
from paperlib.d4c.pipeline import quantize_without_images
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantizers import WeightQuantizer
from paperlib.d4c.ranges import search_range
from paperlib.d4c.settings import Settings
from paperlib.d4c.storage import float_bytes, save_quantized
from paperlib.models.checkpoints import CheckpointError
from paperlib.models.clip import encode_images

FORMATS = [".pt2", ".onnx"]


def ranged(clip, inputs, bits=4, activations=8, folded=False):
    settings = Settings(weight_bits=bits, activation_bits=activations, range_fractions=8)
    model = QuantizedClip(clip, settings)
    model.set_ranges(*inputs)
    return fold(model) if folded else model


def weights_of(model):
    """Bytes of the quantized weights of the image tower in float32, and of the rest."""
    layers = [layer for n, layer in model.layers() if n.startswith("clip.visual.")]
    quantized = sum(4 * layer.weight.numel() for layer in layers)
    return quantized, float_bytes(model, "clip.visual.") - quantized


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", [(3, 5), (4, 3, 3, 3)])
def test_a_packed_weight_is_the_quantized_one(bits, shape):
    weight = torch.randn(shape)
    quantizer = WeightQuantizer(weight, bits)
    found = search_range(weight.flatten(1), bits, fractions=4)
    quantizer.set_range(weight, found.scale, found.zero_point)
    quantizer.active = True
    packed = PackedWeight(quantizer)
    assert packed.packed.numel() == -(-weight.numel() * packed_width(bits) // 8)
    assert torch.equal(packed.codes(), quantizer.codes.float())
    assert torch.equal(packed(), quantizer(weight))


@pytest.fixture(scope="module", params=["resnet", "vit"])
def exported(request, tiny, tmp_path_factory):
    """Models at 4 and 8 bits, images, and a folder with both files of each, named by the bits."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(12, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(images, 64, mode="bilinear")
    tokens = torch.randint(1, 50, (4, 12), generator=generator)
    folder, clip = tmp_path_factory.mktemp(request.param), tiny(request.param)
    models = {bits: ranged(clip, (images, tokens), bits) for bits in (4, 8)}
    for bits, model in models.items():
        for ending in FORMATS:
            export(model, folder / f"{bits}{ending}")
    return request.param, models, images, folder


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("bits", [4, 8])
def test_features_are_those_of_the_simulation(exported, ending, bits):
    """Of a batch of another size than that of the example; of a program of torch bit for bit."""
    _, models, images, folder = exported
    again = load_exported(folder / f"{bits}{ending}")
    most, mean = largest_differences(models[bits], again, images)
    if ending == ".pt2":
        assert most == 0
    else:  # a code may fall the other way at a half
        assert most < 0.02 and mean < 2e-3
    others = largest_differences(models[12 - bits], again, images)  # the model of other bits
    assert others[1] > 5 * max(mean, 1e-4)
    classes = torch.randn(50, 24, generator=torch.Generator().manual_seed(0))
    found = [(encode_images(m, images) @ classes.T).argmax(1) for m in (models[bits], again)]
    assert (found[0] == found[1]).float().mean() > (0.99 if ending == ".pt2" else 0.9)


def test_products_of_a_resnet_are_on_integers_and_of_a_vit_where_an_input_has_one_range(exported):
    kind, _, _, folder = exported
    kinds = [node.op_type for node in onnx.load(folder / "8.onnx").graph.node]
    if kind == "resnet":
        assert kinds.count("ConvInteger") == 3 * 5 and kinds.count("MatMulInteger") == 4
        assert kinds.count("Conv") == 3 + 4  # stem and downsamples
    else:
        assert kinds.count("MatMulInteger") == 2 * 2  # out and c_proj of two blocks


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("bits", [4, 8])
def test_the_size_of_a_file_is_that_of_its_bits(exported, ending, bits):
    """And of the description of the network, which does not grow with the weights."""
    kind, models, _, folder = exported
    size = (folder / f"{bits}{ending}").stat().st_size
    quantized, rest = weights_of(models[bits])
    due = quantized * bits / 32 + rest
    assert due < size < due + (300_000 if ending == ".onnx" else 900_000)
    if kind == "resnet" and bits == 4:
        assert size < (quantized + rest) / 2


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_in_a_file_are_integers_of_so_many_bits(exported, bits):
    _, models, _, folder = exported
    quantized, rest = weights_of(models[bits])
    layers = [layer for n, layer in models[bits].layers() if n.startswith("clip.visual.")]
    outputs = sum(len(layer.weight) for layer in layers)
    graph = onnx.load(folder / f"{bits}.onnx").graph
    held = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    program = torch.export.load(folder / f"{bits}.pt2")
    for arrays in (held, [value.detach().numpy() for value in program.state_dict.values()]):
        packed = sum(a.nbytes for a in arrays if a.dtype == "uint8" and a.size > 1)
        assert quantized * bits / 32 <= packed < quantized * bits / 32 + outputs
        floats = sum(a.nbytes for a in arrays if a.dtype == "float32")
        assert rest <= floats < rest + 4 * 6 * (outputs + sum(x.weight.shape[1] for x in layers))


@pytest.mark.parametrize(
    ("ending", "bits", "activations"), [(".pt2", 4, 8), (".onnx", 4, 8), (".onnx", 8, 5)]
)
def test_a_folded_tower_is_wholly_on_integers(vit, inputs, tmp_path, ending, bits, activations):
    model, file = ranged(vit, inputs, bits, activations, folded=True), tmp_path / f"tower{ending}"
    export(model, file)
    most, mean = largest_differences(model, load_exported(file), inputs[0])
    if ending == ".pt2":
        assert most == 0
        return
    assert mean < (2e-3 if activations == 8 else 1e-2)  # a step of 5 bits is 8 times as large
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("MatMulInteger") == 4 * 2  # two blocks
    assert kinds.count("Clip") >= (4 * 2 if activations == 5 else 0)
    assert kinds.count("MatMul") >= 2 * 2  # q·k and softmax·v are not


def test_what_cannot_be_exported_or_read_is_said(vit, inputs, tmp_path):
    model = ranged(vit, inputs)
    with pytest.raises(ValueError, match=r"tower\.pt: valid are names that end in \.onnx"):
        export(model, tmp_path / "tower.pt")
    with pytest.raises(ValueError, match="no ranges"):
        export(QuantizedClip(vit, model.settings), tmp_path / "tower.onnx")
    with pytest.raises(ValueError, match="ranges of each image's own are not exported"):
        export(quantize_without_images(model, "dynamic"), tmp_path / "tower.onnx")
    assert not list(tmp_path.iterdir())
    for ending in FORMATS:
        file = tmp_path / f"tower{ending}"
        with pytest.raises(CheckpointError, match=f"no exported model at .*tower{ending}"):
            load_exported(file)
        file.write_bytes(b"nothing of the kind")
        with pytest.raises(CheckpointError, match=f"tower{ending} is no whole exported model"):
            load_exported(file)
    with pytest.raises(ValueError, match="valid are names that end in"):
        load_exported(tmp_path / "tower.bin")


@pytest.mark.parametrize("ending", FORMATS)
def test_the_command(vit, inputs, tmp_path, ending, capsys, monkeypatch):
    monkeypatch.setattr("paperlib.d4c.export.load_clip", lambda *_: (vit, None))
    save_quantized(ranged(vit, inputs), tmp_path / "q.safetensors")
    out = tmp_path / f"tower{ending}"
    given = ["--model", "small", "--quantized", str(tmp_path / "q.safetensors"), "--out"]
    main([*given, str(out)])
    printed = capsys.readouterr().out
    assert f"{out}: " in printed and "read back, unit features of 8 images of noise" in printed
    with pytest.raises(SystemExit, match=r"^ValueError: .*tower\.bin: valid are names that end in"):
        main([*given, str(tmp_path / "tower.bin")])
    given[3] = str(tmp_path / "none.safetensors")
    with pytest.raises(SystemExit, match="^CheckpointError: no quantized model at .*none"):
        main([*given, str(out)])
