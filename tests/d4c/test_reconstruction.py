import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from open_clip.model import CustomTextCLIP
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from paperlib.d4c import reconstruction
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.reconstruction import ReconstructionWarning, reconstruct
from paperlib.d4c.settings import Settings
from paperlib.models.resume import Resume

SETTINGS = Settings(
    weight_bits=2,
    text_mlp_bits=2,
    range_fractions=10,
    reconstruction_iterations=60,
    reconstruction_batch=5,
    rounding_rate=0.02,
)


def ranged(clip, inputs, **changes):
    model = QuantizedClip(clip, replace(SETTINGS, **changes))
    model.set_ranges(*inputs)
    return model


def assert_same_state(first, second):
    states = first.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


def test_comes_closer_to_the_float_model(clip, inputs, features):
    exact = features(clip, *inputs)
    model = ranged(clip, inputs)
    nearest = copy.deepcopy(model)
    errors = reconstruct(model, *inputs)
    names = [part for tower in ("image", "text") for s in model.stages(tower) for part in s.parts()]
    assert [error.name for error in errors] == [name for name, _ in names]
    assert sum(error.after < error.before for error in errors) > 0.8 * len(errors)
    for learned, plain, target in zip(
        features(model, *inputs), features(nearest, *inputs), exact, strict=True
    ):
        assert (learned - target).norm() < 0.8 * (plain - target).norm()


def test_a_module_that_got_worse_keeps_the_nearest_rounding(vit, inputs):
    model = ranged(vit, inputs, reconstruction_iterations=2, rounding_rate=50.0)
    nearest = copy.deepcopy(model).state_dict()
    with pytest.warns(
        ReconstructionWarning, match="after 2 iterations .* rounding is kept"
    ) as said:
        errors = reconstruct(model, *inputs)
    worse = [error for error in errors if error.learned > error.before]
    assert len(worse) > 3
    assert [str(each.message).split(":")[0] for each in said] == [error.name for error in worse]
    for error in errors:
        assert error.after == min(error.before, error.learned)
        own = [key for key in nearest if key.startswith(f"{error.name}.")]
        same = all(torch.equal(model.state_dict()[key], nearest[key]) for key in own)
        assert own and same == (error in worse)


def test_rounding_decides_with_time(vit, inputs):
    shares = []
    for iterations in (1, 15, 200):
        model = ranged(vit, inputs, reconstruction_iterations=iterations, rounding_weight=0.1)
        errors = reconstruct(model, *inputs, towers=["image"])
        shares.append(sum(error.undecided for error in errors) / len(errors))
    assert 0.8 < shares[0] <= 1 and shares[0] > shares[1] > shares[2] and shares[2] < 0.2


def test_only_rounds_down_or_up_and_learns_scales(vit, inputs):
    model = ranged(vit, inputs)
    nearest = copy.deepcopy(model)
    reconstruct(model, *inputs)
    for (name, layer), (_, before) in zip(model.layers(), nearest.layers(), strict=True):
        quantizer = layer.weight_quantizer
        s, z = quantizer.scale[:, None], quantizer.zero_point[:, None]
        down = ((layer.weight / s).floor() + z).clamp(0, 3)
        up = ((layer.weight / s).floor() + 1 + z).clamp(0, 3)
        assert ((quantizer.codes == down) | (quantizer.codes == up)).all(), name
        assert (quantizer.codes != before.weight_quantizer.codes).float().mean() > 0.01, name
        assert not torch.equal(layer.input.scale, before.input.scale), name
        if not isinstance(layer.output, nn.Identity):  # of q, k and v: as in the official code
            assert torch.equal(layer.output.scale, before.output.scale), name
        assert torch.equal(layer.weight, before.weight), name


def test_inputs_are_quantized_and_targets_float(clip, inputs, monkeypatch, features):
    """Against forward passes of the whole model, before anything is learned."""
    model = ranged(clip, inputs)
    pairs = []

    def learn(name, module, x, y, settings, rate):
        pairs.append((name, module, x, y))
        return reconstruction.ModuleError(name, 0, 0, 0, 0)

    monkeypatch.setattr(reconstruction, "_learn", learn)
    reconstruct(model, *inputs)
    seen = {}
    for name, module, _, _ in pairs:
        module.register_forward_hook(
            lambda m, x, y, name=name: seen.update({(name, m.training): (x[0].clone(), y.clone())})
        )
    features(model, *inputs)
    quantized = {name: x for (name, _), (x, _) in seen.items()}
    model.switch(False)
    features(model, *inputs)
    targets = {name: y for (name, _), (_, y) in seen.items()}
    for name, _, x, y in pairs:
        torch.testing.assert_close(x, quantized[name], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(y, targets[name], atol=1e-4, rtol=1e-4)


def test_the_prefix_runs_once(clip, inputs):
    counts = []
    for iterations in (1, 7):
        model = ranged(clip, inputs, reconstruction_iterations=iterations)
        runs = []
        model.visual.conv1.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        model.clip.ln_final.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        reconstruct(model, *inputs)
        counts.append(len(runs))
    assert counts == [3, 3]  # 12 images in batches of 5; the end of the text tower never runs


def test_the_loop_is_the_definition(vit, inputs):
    """One layer against Adam on the loss as the equation has it, with the scales held."""
    model = ranged(vit, inputs, reconstruction_batch=12, image_scale_rate=0.0)
    layer = model.visual.transformer.resblocks[0].attn.out
    torch.manual_seed(3)
    x, y = torch.randn(12, 17, 64), torch.randn(12, 17, 64)
    s, z = layer.weight_quantizer.scale[:, None], layer.weight_quantizer.zero_point[:, None]
    weight = layer.weight.detach()
    h = weight / s - (weight / s).floor()
    v = torch.log((h + 0.1) / (1.1 - h)).requires_grad_(True)
    adam = torch.optim.Adam([v], 0.02)
    values = layer.input(x).detach()
    for step in range(60):
        h = (torch.sigmoid(v) * 1.2 - 0.1).clamp(0, 1)
        soft = (((weight / s).floor() + h + z).clamp(0, 3) - z) * s
        loss = (values @ soft.T + layer.bias - y).pow(2).sum() / (12 * 64)  # over tokens
        if step >= 12:
            beta = 20 - 18 * (step - 12) / 47
            loss = loss + 0.01 * (1 - (2 * h - 1).abs() ** beta).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    reconstruction._learn("layer", layer, x, y, model.settings, 0.0)
    h = torch.sigmoid(v) * 1.2 - 0.1
    expected = ((weight / s).floor() + (h >= 0.5) + z).clamp(0, 3)
    agree = (layer.weight_quantizer.codes == expected).float().mean()
    assert agree > 0.999  # another order of the sums may turn a weight that is at one half


def test_only_the_towers_asked_for(vit, inputs):
    model = ranged(vit, inputs, reconstruction_iterations=3)
    before = copy.deepcopy(model)
    errors = reconstruct(model, *inputs, towers=["text"])
    assert errors and all("visual" not in error.name for error in errors)
    assert_same_state(model.visual, before.visual)
    text = QuantizedClip(vit, model.settings)
    text.set_ranges(*inputs)
    reconstruct(text, *inputs)
    assert_same_state(text.clip.transformer, model.clip.transformer)


def test_only_the_first_modules(clip, inputs):
    """They come out as among all; what follows keeps the nearest rounding."""
    model, whole = (ranged(clip, inputs, reconstruction_iterations=3) for _ in range(2))
    before, every = copy.deepcopy(model), reconstruct(whole, *inputs, towers=["image"])
    errors = reconstruct(model, *inputs, towers=["image"], modules=3)
    assert errors == every[:3] and len(every) > 3
    for error in every:
        other = whole if error in errors else before
        assert_same_state(model.get_submodule(error.name), other.get_submodule(error.name))


def test_no_iterations_keep_the_nearest_rounding(vit, inputs):
    model = ranged(vit, inputs, reconstruction_iterations=0)
    before = copy.deepcopy(model)
    reconstruct(model, *inputs)
    assert_same_state(model, before)


@pytest.fixture
def saved_always(monkeypatch):
    """Every module is kept, however fast it was learned."""
    monkeypatch.setattr(reconstruction, "Resume", partial(Resume, every=0))


def interrupted(model, inputs, path, monkeypatch, after=5):
    """Names of the modules that were learned before the run broke off."""
    learn, learned = reconstruction._learn, []

    def breaking(name, *rest):
        if len(learned) == after:
            raise KeyboardInterrupt
        learned.append(name)
        return learn(name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(reconstruction, "_learn", breaking)
        with pytest.raises(KeyboardInterrupt):
            reconstruct(model, *inputs, checkpoint=path)
    return learned


@pytest.mark.usefixtures("saved_always")
def test_an_interrupted_run_ends_with_the_same_result(clip, inputs, tmp_path, monkeypatch):
    few, path = {"reconstruction_iterations": 6}, tmp_path / "runs" / "run.pt"
    whole = ranged(clip, inputs, **few)
    expected = reconstruct(whole, *inputs)
    learned = interrupted(ranged(clip, inputs, **few), inputs, path, monkeypatch)
    learn, again = reconstruction._learn, []
    monkeypatch.setattr(reconstruction, "_learn", lambda n, *r: again.append(n) or learn(n, *r))
    second = ranged(clip, inputs, **few)
    assert reconstruct(second, *inputs, checkpoint=path) == expected
    assert_same_state(second, whole)
    assert learned + again == [error.name for error in expected]
    assert not path.exists()


@pytest.mark.usefixtures("saved_always")
def test_a_checkpoint_of_another_run_is_refused(vit, inputs, tmp_path, monkeypatch, capsys):
    images, tokens = inputs
    few, path = {"reconstruction_iterations": 1}, tmp_path / "run.pt"
    interrupted(ranged(vit, inputs, **few), inputs, path, monkeypatch)
    for model, other in [
        (ranged(vit, inputs, **few, seed=1), images),
        (ranged(vit, inputs, **few), images.flip(0)),
    ]:
        with pytest.raises(ValueError, match="run.pt is of another run"):
            reconstruct(model, other, tokens, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-9])
    begun = ranged(vit, inputs, **few)
    assert reconstruct(begun, *inputs, checkpoint=path) == reconstruct(
        ranged(vit, inputs, **few), *inputs
    )
    assert "run.pt is damaged: this run starts anew" in capsys.readouterr().out


def test_memory_budget(clip, inputs, monkeypatch):
    """Beyond the budget in half precision, with nearly the same result; beyond that refused."""
    largest = 12 * 64 * 16 * 16 if isinstance(clip.visual, ModifiedResNet) else 12 * 17 * 256
    none = {"reconstruction_iterations": 0}
    dtypes, learn = set(), reconstruction._learn

    def spy(name, module, x, y, *rest):
        dtypes.update([x.dtype, y.dtype])
        return learn(name, module, x, y, *rest)

    monkeypatch.setattr(reconstruction, "_learn", spy)
    expected = reconstruct(ranged(clip, inputs, **none), *inputs, towers=["image"])
    assert dtypes == {torch.float32}
    half = ranged(clip, inputs, memory_budget=4 * 2 * largest, **none)
    errors = reconstruct(half, *inputs, towers=["image"])
    assert torch.float16 in dtypes
    for one, other in zip(errors, expected, strict=True):
        assert one.after == pytest.approx(other.after, rel=0.02)
    small = ranged(clip, inputs, memory_budget=4 * 2 * largest - 8, **none)
    needed = f"{8 * largest:,} even in half precision"
    with pytest.raises(ValueError, match=r"memory_budget=.* bytes: activations .* " + needed):
        reconstruct(small, *inputs, towers=["image"])


@pytest.mark.usefixtures("unchecked")
def test_wrong_input_is_named(vit, inputs):
    images, tokens = inputs
    with pytest.raises(ValueError, match="it has no ranges, or is switched off"):
        reconstruct(QuantizedClip(vit, SETTINGS), *inputs)
    with pytest.raises(ValueError, match=r"the model takes \(n, 3, 64, 64\)"):
        reconstruct(ranged(vit, inputs), images[..., :32], tokens)


def test_a_mask_for_every_prompt_is_refused(inputs):
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
    text = {"context_length": 12, "vocab_size": 50, "width": 32, "heads": 4, "layers": 1}
    clip = CustomTextCLIP(24, vision, text | {"embed_cls": True})
    nn.init.normal_(clip.text.cls_emb)
    with pytest.raises(ValueError, match="a mask for every prompt"):
        reconstruct(ranged(clip, inputs), *inputs, towers=["text"])


def test_the_causal_mask_stays_under_gradient_checkpointing(clip, inputs):
    """open_clip gives blocks the mask by place then, else by name."""
    plain, checkpointed = ranged(clip, inputs), ranged(clip, inputs)
    checkpointed.clip.transformer.grad_checkpointing = True
    if hasattr(clip.visual, "transformer"):
        checkpointed.visual.transformer.grad_checkpointing = True
    assert reconstruct(plain, *inputs) == reconstruct(checkpointed, *inputs)
    assert_same_state(plain, checkpointed)
