"""Other beginnings of the synthesis, and the numbers in which it moves."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from paperlib.d4c import methods, optimiser
from paperlib.d4c.methods import calibration_images
from paperlib.d4c.natural import published_spectrum
from paperlib.d4c.optimiser import Part
from paperlib.d4c.settings import Settings
from paperlib.d4c.start import WHITE, Start, hartley
from paperlib.d4c.synthesis import synthesise, synthesise_parts
from paperlib.models.clip import CompactTokenizer, build_small_clip
from paperlib.models.resume import Resume

NAMES = ("cat", "fire engine", "apple", "mountain")
SHORT = Settings(images=6, synthesis_batch=4, synthesis_iterations=3)
STARTS = [Start(noise, fourier) for noise in ("white", "spectrum") for fourier in (False, True)]


@pytest.fixture(scope="module")
def clip():
    tokenizer = CompactTokenizer.of(["a photo of a.", *NAMES])
    torch.manual_seed(0)
    return build_small_clip("vit", tokenizer.vocab_size).eval(), tokenizer


def white(n=4, size=32):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 7, 32])
def test_the_hartley_transform_is_its_own_inverse_and_keeps_lengths(size):
    x = white(2, size)
    torch.testing.assert_close(hartley(hartley(x)), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(hartley(x).norm(), x.norm())
    row = torch.arange(size) / size * 2 * torch.pi
    waves = row[:, None] + row  # cas(a) = cos a + sin a, by the definition
    expected = (x[0, 0] * (waves.cos() + waves.sin())).sum() / size
    torch.testing.assert_close(hartley(x)[0, 0, 1 % size, 1 % size], expected, atol=1e-4, rtol=1e-4)


def test_numbers_in_fourier_space_are_the_same_images():
    x, start = white(), Start(fourier=True)
    torch.testing.assert_close(start.shown(start.numbers(x)), x, atol=1e-4, rtol=0)
    assert start.numbers(x).shape == x.shape
    assert WHITE.numbers(x) is x and WHITE.shown(x) is x


def test_a_step_in_fourier_space_is_as_long_and_moves_low_frequencies():
    """A step of the same size in every number, of random signs, as Adam's first is."""
    step, start = 0.01 * white(64).sign(), Start(fourier=True)
    moved = start.shown(step)
    assert moved.square().mean().sqrt() == pytest.approx(0.01, rel=0.1)
    power = torch.fft.fft2(moved, norm="ortho").abs().square().mean((0, 1))
    flat = torch.fft.fft2(step, norm="ortho").abs().square().mean((0, 1))
    assert power[0, 4] / power[0, 8] == pytest.approx(4, rel=0.3)  # as one over k squared
    assert flat[0, 4] / flat[0, 8] == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("start", STARTS)
def test_before_its_first_step_a_synthesis_has_the_start(clip, start):
    before = synthesise(*clip, replace(SHORT, synthesis_iterations=0), NAMES, start=start).images
    if start.noise == "spectrum":
        expected = calibration_images("spectrum", *clip, SHORT)
    else:
        expected = synthesise(*clip, replace(SHORT, synthesis_iterations=0), NAMES).images
    torch.testing.assert_close(before, expected, atol=1e-3, rtol=0)
    after = synthesise(*clip, SHORT, NAMES, start=start, snapshots=[1])
    assert (after.images - before).abs().mean() > 1e-3
    first = after.snapshots[1] - before
    assert first.square().mean().sqrt() < 0.1  # one step, in pixels: the snapshots are images


def test_starts_differ_in_what_they_make_and_the_papers_is_the_default(clip):
    made = [synthesise(*clip, SHORT, NAMES, start=start) for start in STARTS]
    default = synthesise(*clip, SHORT, NAMES)
    assert torch.equal(default.images, made[0].images)
    for j, one in enumerate(made):
        assert torch.equal(one.targets, default.targets) and torch.equal(one.boxes, default.boxes)
        for other in made[j + 1 :]:
            assert (one.images - other.images).abs().mean() > 1e-2
    kept = calibration_images("d4c", *clip, SHORT, names=NAMES, start=STARTS[3])
    torch.testing.assert_close(kept, made[3].images, atol=2e-3, rtol=0)


def test_a_part_has_the_first_images_of_the_whole_set(clip):
    start, settings = Start("spectrum", fourier=True), replace(SHORT, images=8, synthesis_batch=2)
    whole = synthesise(*clip, replace(settings, seed=5), NAMES, start=start)
    (part,) = synthesise_parts(*clip, settings, [Part(5, 2)], NAMES, start=start)
    torch.testing.assert_close(part.images, whole.images[:2], atol=2e-3, rtol=0)


def test_kept_images_are_those_of_the_start_and_of_the_fitted_spectrum(clip, tmp_path, monkeypatch):
    brief = replace(SHORT, synthesis_iterations=0)

    def kept(start):
        calibration_images("d4c", *clip, brief, folder=tmp_path, names=NAMES, start=start)
        return len(list(tmp_path.glob("*.safetensors")))

    assert [kept(start) for start in (*STARTS, *STARTS)] == [1, 2, 3, 4, 4, 4, 4, 4]
    changed = replace(published_spectrum(), source="others")
    monkeypatch.setattr(methods, "published_spectrum", lambda: changed)
    assert [kept(start) for start in STARTS] == [4, 4, 5, 6]


def test_a_checkpoint_of_another_start_is_not_continued(clip, tmp_path, monkeypatch):
    file = tmp_path / "unfinished.pt"
    monkeypatch.setattr(optimiser, "Resume", partial(Resume, every=0))
    monkeypatch.setattr(Resume, "finish", lambda _: None)  # the file stays
    synthesise(*clip, SHORT, NAMES, file)
    with pytest.raises(ValueError, match=r"of another run \(start differ\)"):
        synthesise(*clip, SHORT, NAMES, file, start=Start("spectrum"))


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_noise_is_refused():
    with pytest.raises(ValueError, match="noise='pink': valid are white, spectrum"):
        Start("pink")
