"""Speed of the DCT and of Occluded Frequency against the plain loops they replace.

    python benchmarks/bench_freq.py        a table of ratios, each pair timed in turns
    pytest benchmarks/bench_freq.py        the same functions under pytest-benchmark

Not part of the tests. `test_same_result` checks that what is compared computes the same.
"""

import time
from collections.abc import Callable

import pytest
import scipy.fft
import torch
from torch import Tensor, nn

from paperlib.freq.bands import band_masks
from paperlib.freq.dct import dct2, dct_matrix
from paperlib.freq.occlusion import band_changes, changes_loop, component_changes, single_masks
from paperlib.models.cnn import build_cnn

MODELS = ("resnet20", "vgg_small", "linear")
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(100, 3, 32, 32, generator=GENERATOR)
ONE, LABEL = IMAGES[:1], torch.zeros(1, dtype=torch.int64)
SINGLE = single_masks(32, 32)
BANDS = band_masks(32, 16)


def dct_by_scipy(images: Tensor) -> Tensor:
    """scipy's two-dimensional DCT, one image after the other."""
    return torch.stack(
        [
            torch.from_numpy(scipy.fft.dctn(x.numpy(), type=2, norm="ortho", axes=(-2, -1)))
            for x in images
        ]
    )


def dct_by_components(images: Tensor) -> Tensor:
    """The definition: the sum of the images times one cosine after the other."""
    rows, columns = dct_matrix(images.shape[-2]), dct_matrix(images.shape[-1])
    X = torch.empty_like(images)
    for u, row in enumerate(rows):
        for v, column in enumerate(columns):
            X[..., u, v] = (images * (row[:, None] * column)).sum((-2, -1))
    return X


def model_of(name: str) -> nn.Module:
    """An untrained model; the speed does not depend on the weights."""
    torch.manual_seed(0)
    return build_cnn(name).eval()


DCTS: dict[str, Callable[[Tensor], Tensor]] = {
    "dct2": dct2,
    "scipy, image by image": dct_by_scipy,
    "component by component": dct_by_components,
}


@pytest.mark.parametrize("name", DCTS)
def test_dct(benchmark, name):
    benchmark.group = "DCT of 100 images"
    benchmark(DCTS[name], IMAGES)


@pytest.mark.parametrize("way", ["batched", "loop"])
@pytest.mark.parametrize("name", MODELS)
def test_component_map(benchmark, name, way):
    benchmark.group = f"Occluded Frequency of one image, 1,024 components, {name}"
    model = model_of(name)
    if way == "batched":
        benchmark.pedantic(component_changes, (model, ONE, LABEL), rounds=3, warmup_rounds=1)
    else:
        benchmark.pedantic(changes_loop, (model, ONE[0], 0, SINGLE), rounds=1)


@pytest.mark.parametrize("name", MODELS)
def test_same_result(name):
    model, image = model_of(name).double(), ONE.double()
    loop = changes_loop(model, image[0], 0, SINGLE)[None]
    torch.testing.assert_close(component_changes(model, image, LABEL).flatten(1), loop)
    for other in (dct_by_scipy, dct_by_components):
        torch.testing.assert_close(other(IMAGES), dct2(IMAGES), atol=1e-5, rtol=1e-5)


def best_seconds(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Shortest time of each, taken in turns so that other load falls on all alike."""
    times = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def main() -> None:
    """Print times and ratios."""
    print(f"{torch.get_num_threads()} threads\n{'':52}{'ours':>10}{'loop':>10}{'ratio':>8}")

    def row(what: str, ours: float, loop: float) -> None:
        print(f"{what:52}{1e3 * ours:7.1f} ms{1e3 * loop:7.0f} ms{loop / ours:7.1f}×", flush=True)

    ours, by_scipy, by_components = best_seconds(
        [lambda f=f: f(IMAGES) for f in DCTS.values()], rounds=5
    )
    row("DCT, 100 images, against scipy image by image", ours, by_scipy)
    row("DCT, 100 images, against component by component", ours, by_components)
    for name in MODELS:
        model = model_of(name)
        for what, batched, masks in [
            ("1,024 components", lambda m=model: component_changes(m, ONE, LABEL), SINGLE),
            ("16 bands", lambda m=model: band_changes(m, ONE, LABEL, BANDS), BANDS),
        ]:
            loop = lambda m=model, k=masks: changes_loop(m, ONE[0], 0, k)  # noqa: E731
            row(f"Occluded Frequency, {what}, {name}", *best_seconds([batched, loop], rounds=3))


if __name__ == "__main__":
    main()
