# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 · The spectrum of the data, and what models learn from it
#
# **Question.** Which frequencies do the images contain, and do the frequencies in the training
# data decide which ones a model uses?
#
# **In the paper.** Wang et al., *Towards Frequency-Based Explanation for Robust CNN*
# ([arXiv 2005.03141](https://arxiv.org/abs/2005.03141)), claim 1: "the connection between the
# distribution of frequency components in the input dataset and the reasoning process the model
# learns from the data".
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji-10, drawn here | under 1 GB | none | CPU or GPU |
# | paper | CIFAR-10 test split | under 2 GB | CIFAR-10, if no copy is given | CPU or GPU |
#
# *Measured when published: default 20 s of one core, 916 MB; paper 41 s, 963 MB.*
#
# Tested on one core of a CPU; a GPU is used where CUDA finds one (untested).

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images drawn from the test split
dataset = "openmoji"  # openmoji, cifar10

# %%
from paperlib.freq import sizes
from paperlib.notebook.start import start

run = start("01_spectrum", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from paperlib.freq import bands, plots, spectrum
from paperlib.freq.tables import map_table
from paperlib.freq.training import RECIPES, train_variant
from paperlib.freq.variants import FILTERS, load_images, load_variant, transfer_matrix
from paperlib.freq.zoo_evidence import correlations
from paperlib.models.training import accuracy
from paperlib.notebook.figures import as_pixels
from paperlib.notebook.words import beside_zero, compared, counted, number
from paperlib.runtime import device
from paperlib.seeds import overlap

# %% [markdown]
# ## The images
#
# 32 × 32 RGB images in [0, 1], ten classes. OpenMoji-10 shows one drawn object over coloured noise
# whose spectrum falls as a photograph's does; its classes are CIFAR-10's. What is measured on
# several draws of the test split tells how much it hangs on the images; draws share none of them
# where the split is large enough.

# %% tags=["nbval-check-output"]
test = load_images(dataset, "test")
draws = test.draws(run.sizes.images, run.sizes.seeds, seed)
data = draws[0]
images = data.floats()  # (n, 3, 32, 32)
print(f"{test.source}: {len(test):,} test images, {len(data):,} taken, {tuple(images.shape[1:])}")

# %%
first = [int((data.labels == k).nonzero()[0]) for k in range(10)]  # image of each class
run.save_figure(
    plots.classes, pd.DataFrame({"class": data.classes}), {"images": as_pixels(images[first])}
)

# %% [markdown]
# One test image of each class, as the networks get it. At this size an outline is a pixel or two
# wide, so the finest waves hold edges and noise, the coarsest the colours of object and ground.
# Which of them tell the class cannot be seen by eye; the rest of the notebook measures it.
#
# ## The spectrum
#
# The orthonormal DCT (discrete cosine transform) writes an image as a sum of cosine waves, $X =
# C\,x\,C^\top$: $X_{uv}$ says how much there is of the wave with $u$ half periods down and $v$
# across, from the constant one at (0, 0) to the finest at (31, 31). Orthonormal means that no
# energy is won or lost. The map shows the mean of $|X_{uv}|$ over images and channels; the profile
# is its mean over rings of equal radius $\sqrt{u^2 + v^2}$, in all and for each class.

# %%
mean_map = spectrum.mean_spectrum(images)  # (32, 32)
profiles = spectrum.profiles(images, data.labels, data.classes, run.sizes.bands)
run.save_figure(plots.spectrum, pd.concat([map_table({"all": mean_map}, ["class"]), profiles]))

# %% [markdown]
# A straight line in the right panel is a power law $|X| \propto 1 / r^a$. Photographs have $a$ near
# $1$ to $1.5$, so most of the energy is in the lowest frequencies.

# %%
mean = profiles[profiles["class"] == "all"]
inner = mean[mean.radius.between(1, 30)]
slope = np.polyfit(np.log(inner.radius), np.log(inner.value), 1)[0]
print(f"exponent a = {-slope:.2f}")

# %%
energy = bands.band_energy(spectrum.dct2(images - images.mean((2, 3), keepdim=True)), 4, "square")
shares = (energy.sum((0, 1)) / energy.sum()).numpy()
edges = ["max(u, v) < 8", "8 to 15", "16 to 23", "24 to 31"]
pd.DataFrame({"band": edges, "share of energy (%)": (100 * shares).round(2)})

# %% [markdown]
# ## Low, middle and high frequencies, seen
#
# A filter keeps some components and drops the others, $x' = C^\top (M \odot X)\, C$. Low-passed
# training images keep max(u, v) < 8, high-passed ones max(u, v) ≥ 4 on mid-grey.

# %%
square = bands.radius(32, shape="square")
shown = images[first[:8]]
middle = bands.filter_components(shown, (square >= 4) & (square < 12)) + 0.5
rows = {"all": shown, "low": FILTERS["low_pass"](shown), "middle": middle}
rows["high"] = FILTERS["high_pass"](shown)

# %%
variance = {name: float(filtered.var()) for name, filtered in rows.items()}
table = pd.DataFrame(variance.items(), columns=["filter", "variance"])
run.save_figure(plots.filters, table, {name: as_pixels(shown) for name, shown in rows.items()})

# %% [markdown]
# People can name objects in more than one row, so more than one band holds what a class looks like.
# Which of them a network uses is another matter: it learns what helps on its training images. The
# next part trains three networks to find out.
#
# ## What a model learns from filtered data
#
# Three ResNet-20s of one recipe, trained on all frequencies, on low ones and on high ones, each
# tested on all three kinds of images. If a model used the same frequencies whatever it was trained
# on, the rows of the table would be alike.

# %%
models = {name: load_variant(dataset, "resnet20", name) for name in ("low_pass", "high_pass")}
models = {"full": load_variant(dataset, "resnet20", "natural")} | models
models = [model.to(device()) for model in models.values()]

# %%
matrices = np.array([100 * transfer_matrix(models, drawn) for drawn in draws])  # (draws, 3, 3)
names = ["full", "low-pass", "high-pass"]
table = pd.DataFrame(matrices.mean(0), names, names).rename_axis("trained on")
table.round(1)

# %%
run.save_figure(plots.transfer, table.reset_index())

# %% [markdown]
# Read along a row: one network, three kinds of test images. On the diagonal, from the top left to
# the bottom right, training and test images were filtered alike. The claim's number is the mean of
# the diagonal minus the mean of all else, draw by draw. If the training data did not matter, the
# rows would be alike, and it would be zero. As a control, the two filters' networks are exchanged.

# %%
diagonal = np.eye(3, dtype=bool)
alike, apart = matrices[:, diagonal].mean(1), matrices[:, ~diagonal].mean(1)
words = compared(alike.mean(), apart.mean(), more="above", less="below", same="as", unit=" %")
what = "Mean accuracy where test images are filtered as those of the training"
run.say(f"{what}: {words} elsewhere.")

# %%
exchanged = matrices[:, [0, 2, 1]]
control = exchanged[:, diagonal].mean() - exchanged[:, ~diagonal].mean()
run.say(f"The same difference with the two filters' networks exchanged: {number(control)} points.")

# %%
gaps = alike - apart
shared = overlap(len(test), run.sizes.images, run.sizes.seeds)
scale = f"{run.sizes.seeds} draws of {run.sizes.images} images that share {shared:.0%} of them"
options = {"source": data, "note": f"the two filters' networks exchanged: {number(control)} points"}
run.check("freq-1-transfer", gaps.tolist(), scale=f"{scale}, one model a filter", **options)

# %% [markdown]
# ## A linear model, where weights and data can be compared
#
# A linear classifier multiplies the image with one template a class, so its weights have a
# spectrum as images do. Beside it stands what the data offers: the spread of the class means,
# $B_{uv} = \sqrt{\tfrac1K \sum_k (\bar X^{(k)}_{uv} - \bar X_{uv})^2}$.

# %%
linear = load_variant(dataset, "linear", "natural").to(device())
weights = spectrum.weight_spectrum(linear).cpu()  # (32, 32)
between = spectrum.between_class_spectrum(images, data.labels, 10)  # (32, 32)
print(f"accuracy of the linear model: {100 * accuracy(linear, images, data.labels):.1f} %")

# %%
maps = {"mean": mean_map, "between": between, "weights": weights}
run.save_figure(plots.linear, map_table(maps))

# %% [markdown]
# All three maps begin with the constant wave at the top left; their colours are logarithmic, each
# map on its own scale, so compare shapes, not heights. The rank correlation does that in one
# number: 1 if the weights rise and fall over the components in the order of the other map, 0 if the
# orders have nothing to do with each other.
#
# Two controls know no classes: the mean of $|X|$, and $B$ of shuffled labels. The class means of a
# few hundred images differ by chance too, most where the images have most, so a shuffled $B$ has
# the shape of the images. Only what the weights have in common with $B$ *beyond* its shuffles is of
# the classes.

# %%
SHUFFLES = 100
gaps = spectrum.beyond_shuffled(weights, draws, SHUFFLES, seed)  # (draws, shuffles)
ends = np.percentile(gaps.mean(0), [2.5, 97.5])

# %%
points = torch.stack([weights, between, mean_map]).flatten(1).T.numpy()  # (components, 3)
with_between, given_mean, _ = correlations(points)
with_mean = spearmanr(weights.flatten(), mean_map.flatten()).statistic

# %%
words = {"more": "higher than", "less": "lower than", "same": "as high as"}
shuffled = compared(with_between, with_between - gaps[0].mean(), **words)
run.say(f"Rank correlation of the weights with B: {shuffled} with B of shuffled labels.")

# %%
with_it = compared(with_mean, with_between, **words)
run.say(f"With the mean of the spectrum: {with_it} with B.")
run.say(f"With B, given the mean of the spectrum (partial): {number(given_mean)}.")

# %% [markdown]
# Can this check fail, and can it hold? Two more linear models are trained on a quarter of the test
# images, and tried on the rest. All labels are shuffled, so that they tell nothing. In the one case
# nothing is added, in the other a faint pattern for each class, in known components. The recipe is
# that of the linear model without shifts and flips, which turn a fine wave into its opposite.

# %%
recipe = replace(RECIPES[dataset, "linear"], shift=0, flip=False)
parts = test.draws(len(test) // 4, 4, seed)
band, found = (square >= 16) & (square < 24), {}
norms = {"no pattern": 0, "a pattern in 16 ≤ max(u, v) < 24": 2}

# %%
sets = {}
for name, norm in norms.items():
    sets[name] = [spectrum.planted(part, band, norm, seed) for part in parts]

# %%
for name, (first, *others) in sets.items():
    model = train_variant("linear", "natural", first.to(device()), recipe, seed)
    of_planted = spectrum.weight_spectrum(model).cpu()
    beyond = spectrum.beyond_shuffled(of_planted, others, SHUFFLES, seed).mean(0)
    found[name] = beyond.mean(), *np.percentile(beyond, [2.5, 97.5])

# %%
pd.DataFrame(found, ["B minus B of shuffled labels", "from", "to"]).T.round(3)

# %%
for name, (difference, low, high) in found.items():
    words = f"{number(difference)}, {beside_zero(low, high)}"
    run.say(f"Labels shuffled and {name} added: {words}.")

# %%
planted = [f"{name}: {number(beyond)}" for name, (beyond, *_) in found.items()]
options = {"note": f"with shuffled labels and {'; '.join(planted)}"}
options |= {"interval": tuple(ends), "over": "shuffles of the labels", "source": data}
run.check("freq-1-linear", gaps.mean(1).tolist(), scale=f"{scale}, one linear model", **options)

# %% [markdown]
# The interval is that of the difference when the labels are shuffled again. Where it holds zero,
# these draws do not show that the weights have more in common with $B$ than with its shuffles,
# which have the shape of the images: that they go where the classes differ cannot be told apart
# from going where the images have their energy.

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %%
of_class = [energy[data.labels == k].sum((0, 1)) for k in range(len(data.classes))]  # each (4,)
low = np.array([100 * float(of[0] / of.sum()) for of in of_class])
words = f"{counted(low > 50)} classes, {number(low.min())} % at least"
run.say(f"More than half of the energy is in max(u, v) < 8 in {words}.")

# %%
right = matrices.mean(0)  # (3, 3), %
best = counted(right.argmax(1) == range(3))
run.say(f"Networks that are best on images filtered as those of their training: {best}.")
words = compared(right[2, 2], 100 / len(data.classes), same="as", unit=" %")
run.say(f"High-passed images are told apart by the network trained on them: {words} by guessing.")

# %% [markdown]
# **The question answered.** The lines above say how much of what the images hold is in low
# frequencies, class by class, and whether the classes differ at higher ones too: were they alike
# there, a network that gets nothing else could only guess. A network that is best on images that
# were filtered as those it was trained on has learned the frequencies that it was shown; where all
# are, the training data decide which ones are used.
#
# **Deviations and limits.** The paper's own tables could not be read, so the reported column is
# blank. Filters and cut-offs are ours. The spread is over draws of test images; there is one
# trained model a filter. OpenMoji-10 has sharp outlines that photographs lack.
