"""Does the order of natural and robust networks hold on a second data set? Tiny ImageNet.

``python -m paperlib.freq.second_data`` measures three networks on the same validation images, those
that all three get right, and writes ``data/freq_zoo/tiny_imagenet.csv``, which notebook 4 reads:

- natural: ResNet-14, trained on the images;
- trained on: from there one epoch more, in another order; the null, as its training saw no attack;
- FGSM-RS: from there one epoch more, on adversarial images.

The last two differ in the attack alone. What is measured is that of `paperlib.freq.comparison`:
low-frequency share of Occluded Frequency in max(u, v) < 16 of 64, and the RCT of PGD, each with an
interval over images.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from paperlib.data import LabelledImages
from paperlib.files import write_files
from paperlib.freq.comparison import Measured, Measuring, differences, measure, summary
from paperlib.freq.variants import load_images, load_variant
from paperlib.models.classifier import Classifier
from paperlib.models.training import accuracy, predict
from paperlib.paths import DATA
from paperlib.runtime import device, set_threads

PLACE = DATA / "freq_zoo" / "tiny_imagenet.csv"
DATASET, ARCHITECTURE = "tiny_imagenet", "resnet14"
NETWORKS = {"natural": ("natural", 0), "trained on": ("natural", 1), "FGSM-RS": ("fgsm_rs", 0)}
PAIRS = (("natural", "trained on"), ("trained on", "FGSM-RS"), ("natural", "FGSM-RS"))
CLAIMS = (("freq-4-second-data", "low share", 1), ("freq-2-second-data", "RCT", -1))
SOURCE = "Tiny ImageNet, data/freq_zoo"
COLUMNS = ["network", "minus", "quantity", "images", "value", "from", "to"]


def right_by_all(
    networks: dict[str, Classifier], data: LabelledImages, count: int, seed: int
) -> LabelledImages:
    """The first images, in an order drawn with the seed, that every network gets right."""
    drawn = data.sample(len(data), seed)
    right = torch.ones(len(drawn), dtype=torch.bool)
    for network in networks.values():
        found = [predict(network, part.float() / 255) for part in drawn.images.split(500)]
        right &= (torch.cat(found) == drawn.labels).cpu()
    return drawn.subset(right.nonzero().squeeze(1)[:count])


def table(
    measured: dict[str, Measured], accuracies: dict[str, float], data: LabelledImages, seed: int
) -> pd.DataFrame:
    """One row a network or a pair and a quantity, with the ends of its 95 % interval over images.

    Args:
        measured: by name of the network, on `data`.
        accuracies: on the whole split.
        data: the images that were measured.
        seed: of the bootstrap.
    """
    settings = Measuring(len(data), seed=seed)
    rows, own = [], summary(measured, data.images, settings)
    for name, one in own.iterrows():
        count = int(measured[name].fooled.sum())
        rows.append([name, "", "accuracy", None, accuracies[name], None, None])
        rows.append([name, "", "fooled", len(data), one.fooled, None, None])
        for quantity, ends_of, images in (("low share", "low", len(data)), ("RCT", "RCT", count)):
            ends = one[f"{ends_of} from"], one[f"{ends_of} to"]
            rows.append([name, "", quantity, images, one[quantity], *ends])
    for pair in PAIRS:
        two = {name: measured[name] for name in pair}
        apart = differences(two, data.images, data.labels, (), settings)
        apart = apart[apart.group.isin(["all", "fooled in both"])]
        for one in apart[apart.quantity.isin(["low share", "RCT"])].to_dict("records"):
            values = (one["images"], one["difference"], one["from"], one["to"])
            rows.append([one["model"], one["minus"], one["quantity"], *values])
    return pd.DataFrame(rows, columns=COLUMNS)


def read() -> pd.DataFrame:
    """The table that is kept; `minus` is empty where a row is of one network."""
    return pd.read_csv(PLACE, dtype={"minus": str}).fillna({"minus": ""})


def checked(rows: pd.DataFrame) -> dict[str, tuple[float, tuple[float, float], str, str]]:
    """Value, interval, scale and note of each claim, from the rows of `read` by its key columns.

    RCT is turned round: the claim is of the natural network minus the robust one.
    """
    found = {}
    for claim, what, sign in CLAIMS:
        one, null = (rows.loc[(*pair, what)] for pair in (PAIRS[1][::-1], PAIRS[0][::-1]))
        low, high = sorted((sign * one["from"], sign * one["to"]))
        note = "null, one epoch more without attacks: {:.3f} [{:.3f}, {:.3f}]".format(
            sign * null["value"], *sorted((sign * null["from"], sign * null["to"]))
        )
        scale = f"{int(one['images'])} images, one training of each network"
        found[claim] = sign * one["value"], (low, high), scale, note
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100, help="that all networks get right")
    parser.add_argument("--share", type=float, default=0.02, help="of the high components removed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, default=PLACE)
    options = parser.parse_args()
    set_threads()
    data = load_images(DATASET, "test").to(device())
    networks = {
        name: Classifier(load_variant(DATASET, ARCHITECTURE, variant, seed)).to(device())
        for name, (variant, seed) in NETWORKS.items()
    }
    some = right_by_all(networks, data, options.images, options.seed)
    settings = Measuring(len(some), components=True, share=options.share, seed=options.seed)
    measured = {
        name: measure(network, some.images, some.labels, settings)
        for name, network in networks.items()
    }
    accuracies = {
        name: accuracy(network, data.floats(), data.labels) for name, network in networks.items()
    }
    found = table(measured, accuracies, some, options.seed)
    text = found.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_files({options.file: text.encode()})
    print(found.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
