"""What JPEG alone does to a network's accuracy and to the low share of its Occluded Frequency.

    PAPERLIB_CIFAR10=folder python benchmarks/bench_jpeg.py

The published ResNet-20 on images of CIFAR-10's test split, as they are and after JPEG, the same
images and components: a table and the paired difference with its 95 % interval over images. A
minute of one core; not part of the tests. The folder must hold images that are lossless.
"""

import argparse

from paperlib.data.cifar import load_cifar
from paperlib.freq.cutoffs import jpeg
from paperlib.freq.occlusion import low_share
from paperlib.freq.sampled import sampled_frequency
from paperlib.freq.tables import bootstrap
from paperlib.freq.variants import LOW_CUTOFF
from paperlib.models.checkpoints import load_checkpoint
from paperlib.models.training import predict
from paperlib.runtime import set_threads

MODEL = "cifar10-published-resnet20"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="of images, for the accuracy")
    parser.add_argument("--occluded", type=int, default=40, help="of these, for the low share")
    parser.add_argument("--quality", type=int, default=75, help="of JPEG, 1 to 100")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    set_threads()
    data = load_cifar("cifar10", "test").sample(options.count, options.seed)
    if data.altered:
        parser.error(f"the images of {data.source} went through {data.altered} already")
    model, few = load_checkpoint(MODEL), slice(options.occluded)
    found = {}
    for name, pixels in {
        "lossless": data.images,
        f"JPEG {options.quality}": jpeg(data.images, options.quality),
    }.items():
        images = pixels.float() / 255
        right = (predict(model, images) == data.labels).float()
        maps = sampled_frequency(model, images[few], data.labels[few], seed=options.seed)
        low = low_share(maps, LOW_CUTOFF)
        found[name] = low
        error = low.std() / len(low) ** 0.5
        print(
            f"{name}: accuracy {right.mean():.1%} of {len(data)} images, "
            f"low share {low.mean():.3f} ± {error:.3f} of {len(low)}",
            flush=True,
        )
    before, after = found.values()
    low, high = bootstrap((after - before).numpy(), seed=options.seed)
    print(
        f"low share, JPEG minus lossless: {(after - before).mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    )


if __name__ == "__main__":
    main()
