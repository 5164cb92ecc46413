"""What the zoo's table says of claim 5: does low-frequency share go with robust accuracy?

The unit is the variant, not the image or the training: variants are resampled first, each with all
its architectures, then the trainings inside each. Of every resample the networks of a variant and
architecture are averaged, and over these points Spearman's rank correlation $r_{xy}$ of low share
$x$ and robust accuracy $y$ is taken, and the partial one given clean accuracy $z$,

$$r_{xy \\cdot z} = \\frac{r_{xy} - r_{xz} r_{yz}}{\\sqrt{(1 - r_{xz}^2)(1 - r_{yz}^2)}}.$$

`paperlib.freq.zoo` makes the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from paperlib.data import LabelledImages
from paperlib.freq.variants import ARCHITECTURES
from paperlib.freq.zoo_recipes import RECIPES, VARIANTS
from paperlib.freq.zoo_training import Job, measure
from paperlib.intervals import Cells, bootstrap, bootstrap_clusters
from paperlib.models.checkpoints import load_checkpoint
from paperlib.names import DATASETS
from paperlib.names import LABELLED as NAMES
from paperlib.paths import DATA
from paperlib.runtime import device
from paperlib.seeds import derive

FOLDER = DATA / "freq_zoo"
KEYS = ["architecture", "variant"]
ADVERSARIAL = ("fgsm_rs", "pgd", "pgd_4")
UNCHANGED = ("natural", "weight_decay_0", "weight_decay_5e-3", "mixup")
"""Variants whose training changes no frequencies: no attack, no filter or blur, no noise."""
PLANNED = 5  # trainings of every variant and architecture


@dataclass(frozen=True)
class Correlation:
    """A correlation or a difference, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Association:
    """How low-frequency share goes with robust accuracy over some variants.

    Attributes:
        variants, networks: how many there are.
        spearman: rank correlation of both.
        partial: the same given clean accuracy.
        clean: rank correlation of clean and robust accuracy.
    """

    variants: int
    networks: int
    spearman: Correlation
    partial: Correlation
    clean: Correlation


def trainings(dataset: str) -> pd.DataFrame:
    """Rows of the table of one data set: a network each, accuracies and shares from 0 to 1."""
    table = pd.read_csv(FOLDER / "trainings.csv")
    return table[table.dataset == dataset].reset_index(drop=True)


def shares_of_images(dataset: str) -> pd.DataFrame:
    """Low-frequency shares of the same networks, a row an image."""
    table = pd.read_csv(FOLDER / "images.csv")
    return table[table.dataset == dataset].reset_index(drop=True)


def row(table: pd.DataFrame, job: Job) -> pd.Series:
    """What stands in a table of one training."""
    return table[(table[list(job.key)] == pd.Series(job.key)).all(axis=1)].iloc[0]


def planned(dataset: str) -> int:
    """How many networks of a data set the table will have when it is whole."""
    return PLANNED * len(VARIANTS) * sum(name == dataset for name, _ in RECIPES)


def groups(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table, each architecture of it, and both without the adversarially trained networks."""
    parts = {"all": table}
    parts |= {title: table[table.architecture == name] for name, title in ARCHITECTURES.items()}
    whole = {f"{name}, not adversarial": _natural(rows) for name, rows in parts.items()}
    return parts | whole


def _natural(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table.variant.isin(ADVERSARIAL)]


def between_trainings(adversarial: str, column: str = "low_logit") -> pd.DataFrame:
    """Low-frequency share of every adversarially trained network minus every natural one.

    Returns:
        One row a data set and architecture: how many trainings of both there are, and the mean,
        smallest and largest difference over the pairs of them.
    """
    rows = {}
    for dataset in NAMES:
        for name, part in trainings(dataset).groupby("architecture"):
            pair = [part[part.variant == v][column].to_numpy() for v in (adversarial, "natural")]
            differences = np.subtract.outer(*pair)
            rows[DATASETS[dataset], ARCHITECTURES[name]] = {
                "adversarial": len(pair[0]),
                "natural": len(pair[1]),
                "mean": differences.mean(),
                "smallest": differences.min(),
                "largest": differences.max(),
            }
    return pd.DataFrame(rows).T.astype({"adversarial": int, "natural": int})


def null_networks(dataset: str, architecture: str) -> pd.DataFrame:
    """Low-frequency shares of the networks of `UNCHANGED`, the null of claim 4.

    By how much one of them is above a natural one is what another recipe, or another random start,
    does by itself. Noise, blur and filters are left out: they change the frequencies of the
    training images, and claim 1 has a difference follow from that.

    Returns:
        A row an image, a column a network, by variant and training; NaN for an image that is not
        among those on which a network was measured.
    """
    rows = shares_of_images(dataset)
    rows = rows[(rows.architecture == architecture) & rows.variant.isin(UNCHANGED)]
    return rows.pivot(index="image", columns=["variant", "training"], values="low_logit")


def above_natural(shares: pd.DataFrame) -> pd.Series:
    """Means over images of `null_networks`: each network minus each other one that is natural."""
    means = shares.mean()
    natural = [column for column in shares if column[0] == "natural"]
    pairs = [(column, base) for column in shares for base in natural if column != base]
    return pd.Series([means[column] - means[base] for column, base in pairs])


def beside_null(adversarial: str) -> pd.DataFrame:
    """What training does to the low-frequency share, beside the null and a positive control.

    Returns:
        One row a data set and architecture: how many `null_networks` there are, the smallest and
        largest of `above_natural`; and the mean of low-passed, and of adversarially trained,
        networks minus the mean of natural ones.
    """
    rows = {}
    for dataset in NAMES:
        for name, part in trainings(dataset).groupby("architecture"):
            null, means = null_networks(dataset, name), part.groupby("variant").low_logit.mean()
            rows[DATASETS[dataset], ARCHITECTURES[name]] = {
                "null networks": null.shape[1],
                "null, smallest": above_natural(null).min(),
                "null, largest": above_natural(null).max(),
                "low-pass": means["low_pass"] - means["natural"],
                "adversarial": means[adversarial] - means["natural"],
            }
    return pd.DataFrame(rows).T.astype({"null networks": int})


def beyond_null(
    differences: Mapping[str, np.ndarray], dataset: str, resamples: int, seed: int
) -> Correlation:
    """By how much networks' low-frequency share exceeds the natural one's beyond the null.

    The smallest over the architectures of the mean difference minus the largest of
    `above_natural`; with its 95 % interval over images, those of the differences and those of the
    null, each resampled.

    Args:
        differences: a network's share minus the natural one's, of each architecture an array
            (images,); the same images in all.
        dataset: whose null it is.
        resamples, seed: of the percentile bootstrap.
    """
    measured = np.stack(list(differences.values()), 1)  # (images, architectures)
    nulls = [null_networks(dataset, name) for name in differences]

    def smallest(own: np.ndarray, null: list[pd.DataFrame]) -> float:
        largest = [above_natural(shares).max() for shares in null]
        return float((own.mean(0) - largest).min())

    def again(*images: np.ndarray) -> float:
        some = [shares.iloc[own] for shares, own in zip(nulls, images[:-1], strict=True)]
        return smallest(measured[images[-1]], some)

    counts = [*map(len, nulls), len(measured)]
    ends = bootstrap(again, counts, resamples, derive(seed, "images of the null"))
    return Correlation(smallest(measured, nulls), *map(float, ends))


def permuted(table: pd.DataFrame, robust: str, shuffles: int, seed: int) -> np.ndarray:
    """The null of claim 5: `correlations` when robust accuracy is dealt anew among the points.

    Returns:
        A row a shuffle, its columns those of `correlations`; a point is a variant and architecture.
    """
    points = table.groupby(KEYS)[["low_logit", robust, "accuracy"]].mean().to_numpy()
    draw = np.random.default_rng(derive(seed, "robust accuracy dealt anew"))
    found = []
    for _ in range(shuffles):
        dealt = points.copy()
        dealt[:, 1] = draw.permutation(points[:, 1])
        found.append(correlations(dealt))
    return np.stack(found)


def associate(
    table: pd.DataFrame, robust: str = "robust_2", resamples: int = 1000, seed: int = 0
) -> Association:
    """Correlations over the variants of a table, with intervals over variants and trainings.

    Args:
        table: as of `trainings`, or some of its rows.
        robust: its column of robust accuracy.
        resamples, seed: of the percentile bootstrap. A resample in which a rank correlation is not
            defined, such as one of a single variant, does not count.

    Raises:
        ValueError: fewer than three variants.
    """
    columns = ["low_logit", robust, "accuracy"]
    variants = [  # a list of variants, of their architectures, of arrays (trainings, 3)
        [cell[columns].to_numpy() for _, cell in rows.groupby("architecture")]
        for _, rows in table.groupby("variant")
    ]
    if len(variants) < 3:
        raise ValueError(f"{len(variants)} variants: a correlation needs at least three")

    def of_means(cells: Cells) -> np.ndarray:
        return correlations(np.stack([cell.mean(0) for cell in cells]))

    draws = resamples, derive(seed, "variants and trainings")
    ends = bootstrap_clusters(of_means, variants, *draws)
    values = of_means([cell for variant in variants for cell in variant])
    each = (Correlation(*map(float, row)) for row in zip(values, *ends, strict=True))
    return Association(len(variants), len(table), *each)


def associate_all(
    tables: Mapping[str, pd.DataFrame], resamples: int, seed: int
) -> dict[tuple[str, str], Association]:
    """`associate` for each of `groups` of each table, at 2/255, by the data set's title and group.

    Args:
        tables: of `trainings`, by data set.
        resamples, seed: of the bootstrap.
    """
    return {
        (DATASETS[name], group): associate(rows, "robust_2", resamples, seed)
        for name, table in tables.items()
        for group, rows in groups(table).items()
    }


def association_table(found: Mapping[tuple[str, str], Association]) -> pd.DataFrame:
    """What `associate_all` has found in words and numbers, a row each."""
    rows = {
        key: {
            "variants": one.variants,
            "networks": one.networks,
            "low share and robust": str(one.spearman),
            "given clean accuracy": str(one.partial),
            "clean and robust": str(one.clean),
        }
        for key, one in found.items()
    }
    return pd.DataFrame(rows).T


def checked(
    every: Association, natural: Association, large: Association, dataset: str
) -> dict[str, tuple[Correlation, str, str]]:
    """For each claim on the zoo its correlation, how much was measured, and a note.

    Args:
        every: of all networks, at 2/255.
        natural: of those that are not adversarially trained.
        large: of all networks, at 8/255.
        dataset: whose networks they are.
    """
    scale = f"{every.variants} variants, {every.networks} networks of {planned(dataset)}"
    few = f"{natural.variants} variants, {natural.networks} networks"
    return {
        "freq-5-rank": (every.spearman, scale, f"at 8/255: {large.spearman}"),
        "freq-5-given-clean": (every.partial, scale, f"at 8/255: {large.partial}"),
        "freq-5-not-adversarial": (
            natural.spearman,
            few,
            f"given clean accuracy: {natural.partial}",
        ),
    }


def measured_again(
    data: LabelledImages, attacked: int = 20, occluded: int = 10
) -> dict[tuple[str, str], Any]:
    """Two kept ResNet-20 of CIFAR-10, measured here on other images, beside the table.

    Args:
        data: images of CIFAR-10.
        attacked, occluded: how many of them are attacked, and occluded.

    Returns:
        By variant: "here", what `zoo_training.measure` finds of a training, and "table", the row
        that the table has of it.

    Raises:
        CheckpointError: weights that are missing or damaged.
    """
    data, table, found = data.to(device()), trainings("cifar10"), {}
    for variant in ("natural", "pgd"):
        net = load_checkpoint(f"cifar10-resnet20-{variant}", FOLDER).to(device())
        recipe = RECIPES["cifar10", "resnet20"]
        job = Job("cifar10", "resnet20", variant, 0, recipe, attacked=attacked, occluded=occluded)
        found[variant, "here"] = measure(net, job, data)["trainings"][0]
        found[variant, "table"] = row(table, job)
    return found


def correlations(points: np.ndarray) -> np.ndarray:
    """Rank correlations of x and y, of both given z, and of z and y; from rows x, y, z.

    NaN where one is not defined.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ranks = np.corrcoef(rankdata(points, axis=0), rowvar=False)
        xy, xz, yz = ranks[0, 1], ranks[0, 2], ranks[1, 2]
        partial = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    return np.array([xy, partial if np.isfinite(partial) else np.nan, yz])
