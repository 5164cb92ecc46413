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
from paperlib.models.checkpoints import load_checkpoint
from paperlib.names import DATASETS
from paperlib.names import LABELLED as NAMES
from paperlib.paths import DATA
from paperlib.runtime import device
from paperlib.seeds import derive

FOLDER = DATA / "freq_zoo"
KEYS = ["architecture", "variant"]
ADVERSARIAL = ("fgsm_rs", "pgd", "pgd_4")
PLANNED = 5  # trainings of every variant and architecture


@dataclass(frozen=True)
class Correlation:
    """A correlation, and the ends of its 95 % interval."""

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
    draw = np.random.default_rng(derive(seed, "variants and trainings"))

    def points(some: list, resampled: bool) -> np.ndarray:  # (variants x architectures, 3)
        cells = [cell for variant in some for cell in variant]
        if resampled:
            cells = [cell[draw.integers(len(cell), size=len(cell))] for cell in cells]
        return np.stack([cell.mean(0) for cell in cells])

    found = []
    for _ in range(resamples):
        some = [variants[i] for i in draw.integers(len(variants), size=len(variants))]
        found.append(correlations(points(some, resampled=True)))
    ends = np.nanpercentile(np.stack(found), [2.5, 97.5], axis=0)
    values = correlations(points(variants, resampled=False))
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
