import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from paperlib.data.foolbox_images import foolbox_cifar10
from paperlib.freq import zoo_evidence
from paperlib.freq.zoo_recipes import VARIANTS
from paperlib.freq.zoo_training import Job
from paperlib.models.training import Recipe
from paperlib.names import ROOT


def table(low, robust, clean=None, trainings=1, noise=0.0, architectures=("resnet20",)):
    """A table of as many variants as there are values, with noise between the trainings."""
    draw = np.random.default_rng(0)
    clean = low if clean is None else clean
    rows = [
        {"architecture": arch, "variant": f"v{i}", "training": training}
        | dict(zip(("low_logit", "robust_2", "accuracy"), values, strict=True))
        for arch in architectures
        for i, each in enumerate(zip(low, robust, clean, strict=True))
        for training in range(trainings)
        for values in [np.array(each) + noise * draw.normal(size=3)]
    ]
    return pd.DataFrame(rows)


def test_the_correlations_are_those_of_scipy_and_of_residuals():
    points = np.random.default_rng(1).normal(size=(30, 3))
    points[:, :2] += points[:, 2:]
    xy, partial, yz = zoo_evidence.correlations(points)
    assert xy == pytest.approx(spearmanr(points[:, 0], points[:, 1]).statistic)
    assert yz == pytest.approx(spearmanr(points[:, 1], points[:, 2]).statistic)
    ranks = np.argsort(np.argsort(points, axis=0), axis=0).astype(float)
    design = np.stack([np.ones(30), ranks[:, 2]], 1)
    left = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks.T[:2]]
    assert partial == pytest.approx(np.corrcoef(left)[0, 1])


def test_what_only_follows_clean_accuracy_is_gone_given_it():
    draw = np.random.default_rng(2)
    clean = draw.normal(size=400)
    low, robust = (clean + draw.normal(size=400) for _ in range(2))
    found = zoo_evidence.associate(table(low, robust, clean), resamples=200)
    assert found.spearman.low > 0.3
    assert found.partial.low < 0 < found.partial.high and abs(found.partial.value) < 0.15


def test_more_trainings_of_few_variants_do_not_narrow_the_interval_between_variants():
    draw = np.random.default_rng(3)
    low = draw.normal(size=8)
    robust = low + draw.normal(size=8)
    width = [
        one.high - one.low
        for one in (
            zoo_evidence.associate(table(low, robust, trainings=count), resamples=400).spearman
            for count in (1, 20)
        )
    ]
    assert width[1] > 0.8 * width[0] > 0.2


def test_trainings_that_differ_widen_it():
    low = np.arange(8.0)
    same = table(low, low, trainings=2)
    found = zoo_evidence.associate(same, resamples=100).spearman
    assert found.low == pytest.approx(1) and found.value == pytest.approx(1)
    apart = same.assign(robust_2=same.robust_2 + np.where(same.training == 0, 9.0, -9.0))
    found = zoo_evidence.associate(apart, resamples=100).spearman  # each mean is as it was
    assert found.value == pytest.approx(1) and found.low < 0.9


def test_a_variant_brings_all_its_architectures():
    low = np.arange(6.0)
    both = table(low, low, architectures=("resnet20", "vgg_small"))
    found = zoo_evidence.associate(both, resamples=50)
    assert (found.variants, found.networks) == (6, 12)
    with pytest.raises(ValueError, match="2 variants"):
        zoo_evidence.associate(table(low[:2], low[:2]))


@pytest.mark.parametrize("dataset", zoo_evidence.NAMES)
def test_the_committed_tables_belong_together(dataset):
    trainings = zoo_evidence.trainings(dataset)
    keys = [*zoo_evidence.KEYS, "training"]
    assert not trainings.duplicated(keys).any()
    assert len(trainings) <= zoo_evidence.planned(dataset) == 140
    assert set(trainings.variant) <= set(VARIANTS)
    images = pd.read_csv(zoo_evidence.FOLDER / "images.csv")  # a row an image of each network
    means = images[images.dataset == dataset].groupby(keys).low_logit.mean()
    pd.testing.assert_series_equal(
        trainings.set_index(keys).low_logit.sort_index(), means, atol=1e-4, rtol=0
    )
    job = Job(dataset, "resnet20", "pgd", 0, Recipe(1, 0.1))
    assert zoo_evidence.row(trainings, job).variant == "pgd"


def test_how_many_trainings_there_are_is_said_as_it_is():
    there = sum(len(zoo_evidence.trainings(name)) for name in zoo_evidence.NAMES)
    planned = sum(map(zoo_evidence.planned, zoo_evidence.NAMES))
    for name in ("data/LICENSES.md", "docs/not_reproduced.md"):
        words = " ".join((ROOT / name).read_text(encoding="utf-8").split())
        assert f"{there} of the {planned} trainings" in words, name


def test_groups_are_the_architectures_with_and_without_attacks_in_training():
    parts = zoo_evidence.groups(zoo_evidence.trainings("cifar10"))
    assert len(parts) == 6
    assert set(parts["VGG"].architecture) == {"vgg_small"}
    left_out = set(parts["all"].variant) - set(parts["all, not adversarial"].variant)
    assert left_out == set(zoo_evidence.ADVERSARIAL)


def test_correlations_of_all_groups_by_title():
    tables = {"cifar10": zoo_evidence.trainings("cifar10")}
    found = zoo_evidence.associate_all(tables, 20, 3)
    assert list(found) == [("CIFAR-10", group) for group in zoo_evidence.groups(tables["cifar10"])]
    alone = zoo_evidence.associate(tables["cifar10"], "robust_2", 20, 3)
    assert found["CIFAR-10", "all"] == alone
    shown = zoo_evidence.association_table(found).loc[("CIFAR-10", "all")]
    assert shown["given clean accuracy"] == str(alone.partial)
    assert shown.networks == len(tables["cifar10"])


def test_each_claim_has_its_correlation():
    def one(value):
        each = [zoo_evidence.Correlation(value + k, 0.0, 1.0) for k in range(3)]
        return zoo_evidence.Association(3, 9, *each)

    found = zoo_evidence.checked(one(0.1), one(10.1), one(20.1), "cifar10")
    assert [value.value for value, _, _ in found.values()] == [0.1, 1.1, 10.1]
    assert found["freq-5-rank"][1:] == (
        "3 variants, 9 networks of 140",
        "at 8/255: 20.10 [0.00, 1.00]",
    )
    assert found["freq-5-not-adversarial"][1] == "3 variants, 9 networks"


def test_kept_networks_are_measured_again_beside_the_table():
    data = foolbox_cifar10().subset(torch.arange(3))
    found = zoo_evidence.measured_again(data, attacked=1, occluded=1)
    sides = ("here", "table")
    assert list(found) == [(v, side) for v in ("natural", "pgd") for side in sides]
    assert found["pgd", "table"].variant == "pgd"
    assert all(found[v, "here"]["attacked"] == 1 for v in ("natural", "pgd"))
    assert found["natural", "here"]["accuracy"] in (0, 1 / 3, 2 / 3, 1)


def test_every_adversarial_training_is_set_against_every_natural_one(monkeypatch):
    rows = [("natural", 0.2), ("natural", 0.3), ("pgd", 0.7), ("pgd", 0.9), ("mixup", 0.0)]
    few = pd.DataFrame(rows, columns=["variant", "low_logit"]).assign(architecture="resnet20")
    monkeypatch.setattr(zoo_evidence, "trainings", lambda dataset: few)
    found = zoo_evidence.between_trainings("pgd").loc["CIFAR-10", "ResNet-20"]
    assert found.tolist() == pytest.approx([2, 2, 0.55, 0.4, 0.7])


def null(monkeypatch, shares):
    """As if these were the mean shares of the networks without attacks, by variant."""
    noise = np.random.default_rng(0).normal(scale=0.01, size=(50, len(shares)))
    found = pd.DataFrame(noise - noise.mean(0) + list(shares.values()))
    found.columns = pd.MultiIndex.from_tuples([(name, 0) for name in shares])
    monkeypatch.setattr(zoo_evidence, "null_networks", lambda dataset, architecture: found)
    return found


def test_the_null_is_each_network_minus_each_other_natural_one(monkeypatch):
    shares = null(monkeypatch, {"natural": 0.4, "mixup": 0.2, "weight_decay_0": 0.45})
    assert sorted(zoo_evidence.above_natural(shares)) == pytest.approx([-0.2, 0.05])


@pytest.mark.parametrize(("difference", "clear"), [(0.05, False), (0.2, True)])
def test_only_what_is_beyond_the_null_is_of_the_attacks(monkeypatch, difference, clear):
    null(monkeypatch, {"natural": 0.4, "mixup": 0.2, "weight_decay_0": 0.45})
    measured = difference + np.random.default_rng(1).normal(scale=0.02, size=60)
    both = {"resnet20": measured, "vgg_small": measured + 0.3}
    found = zoo_evidence.beyond_null(both, "openmoji", 100, 0)
    assert found.value == pytest.approx(measured.mean() - 0.05)
    assert (found.low > 0) == clear and found.low < found.value < found.high


def test_the_controls_of_claim_4_stand_where_they_must():
    found = zoo_evidence.beside_null("pgd")
    assert (found["null networks"] >= 4).all()
    assert (found["low-pass"] > found["null, largest"]).all()


def test_robust_accuracy_dealt_anew_goes_with_nothing():
    low = np.arange(12.0)
    found = zoo_evidence.permuted(table(low, low, low[::-1]), "robust_2", 300, 0)
    assert found.shape == (300, 3)
    assert abs(found[:, 0].mean()) < 0.1
    assert np.percentile(found[:, 0], 97.5) == pytest.approx(0.58, abs=0.1)  # of twelve, in tables
