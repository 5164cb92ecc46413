# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · Your own model, on your own images
#
# **Question.** Which frequencies does *your* network rest on, which ones does an attack on it
# change, and how does it differ from another network, or from an earlier checkpoint of itself?
#
# **In the paper.** Wang et al., [arXiv 2005.03141](https://arxiv.org/abs/2005.03141), measure
# VGG and ResNet on CIFAR-10. That attacks change high frequencies is no law: Maiya et al.,
# [arXiv 2111.00861](https://arxiv.org/abs/2111.00861), find neither high nor low, but what the data
# decides. So here the same quantities are measured of any classifier on any images. As it stands,
# the notebook takes a naturally and an adversarially trained network that come with it.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji-10, drawn here, or yours | under 1.2 GB | none | CPU or GPU |
# | paper | CIFAR-10's test split, or yours | under 2 GB | CIFAR-10, if not given | CPU or GPU |
#
# *Measured when published: default 55 s of one core, 825 MB.*
#
# Tested on one core of a CPU; a GPU is used where CUDA finds one (untested).
#
# The same from a shell, with tables and figures in a folder:
#
# ```
# python -m paperlib.freq.your_model --model timm:resnet18=weights.pth --images folder --size 64
# ```

# %% [markdown]
# ## Parameters
#
# `model` is one name, or several with commas between them: the others are then compared with the
# first. A name is one of
#
# - a checkpoint of `data/checkpoints`, such as `openmoji-resnet20-pgd`;
# - `timm:NAME` or `torchvision:NAME`, with the published weights, which are downloaded, or with
#   yours: `timm:resnet18=weights.pth`;
# - `robustbench:FILE`, a file as RobustBench downloads it;
# - `file.py:function`, where the function returns your network.
#
# `images` is a folder with a folder a class, or parquet with encoded images and labels; `size`
# scales them, where they differ. Paths are absolute or start in the folder `notebooks`. Empty words
# and 0 take what comes with the notebook.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, cifar10; where no images are given
model = ""  # names with commas between them
images = ""  # a folder, or parquet
size = 0  # height and width of the images; 0: as they are
normalisation = ""  # none, ImageNet's, CIFAR's, 0.5 and 0.5; empty: that of the library

# %%
from paperlib.freq import sizes
from paperlib.notebook.start import start

own = {"model": model, "images": images, "size": size, "normalisation": normalisation}
run = start("15_your_model", sizes, profile=profile, seed=seed, dataset=dataset, **own)

# %%
import pandas as pd

from paperlib.data.own import load_own
from paperlib.freq import comparison
from paperlib.freq.tables import curve_table, map_table
from paperlib.freq.variants import ADVERSARIAL, load_images
from paperlib.freq.your_model import checks, plots
from paperlib.models.classifier import first_look
from paperlib.models.named import load_named, titles
from paperlib.notebook.words import beside_zero
from paperlib.runtime import device

# %% [markdown]
# ## Images

# %%
if images:
    data = load_own(images, run.sizes.images, size or None, seed)
else:
    data = load_images(dataset, "test").sample(run.sizes.images, seed)

# %%
x, labels = data.floats().to(device()), data.labels.to(device())
print(f"{data.source}: {len(data)} images, {x.shape[-2]} × {x.shape[-1]} pixels")

# %% [markdown]
# ## Networks, and their accuracy first
#
# All measures work on pixels in [0, 1]. A network that was trained on shifted and scaled pixels
# needs that before it, in one line, `Classifier(network, *NORMALISATIONS["ImageNet's"])`. To forget
# it costs most of the accuracy and raises no error, and the frequencies measured then are those of
# a network that does not work. So the accuracy comes first, beside that with each of the usual
# normalisations in place of its own; a gain of five points is named where its interval over images
# is above zero. A network that fails on the images, gives no gradient or no numbers, ends here with
# one sentence; to one that takes a single channel the images are given in grey.

# %%
default = f"{dataset}-resnet20-natural, {dataset}-resnet20-{ADVERSARIAL[dataset]}"
names = titles([name.strip() for name in (model or default).split(",")])

# %%
given = (normalisation or None, tuple(x.shape[-2:]))
networks = {title: load_named(name, *given).to(device()) for name, title in names.items()}
x = checks.taken(networks, x, labels)
looks = {name: first_look(network, x, labels) for name, network in networks.items()}

# %%
for name, look in looks.items():
    for doubt in checks.doubts(networks[name], x, labels, look):
        print(f"{name}: {doubt}")
accuracies = {name: {"as given": look.accuracy} | look.others for name, look in looks.items()}
(100 * pd.DataFrame.from_dict(accuracies, "index")).round(1)

# %% [markdown]
# ## What is measured
#
# **Occluded Frequency** (notebook 3): the share of the change, up or down, of the true class's
# logit when a component is removed; here of all low components and a sample of the high ones, the
# same for every network. Above 64 × 64 pixels this takes hours (224 × 224 pixels have 50,176
# components, each a forward pass), so 16 bands of max(u, v) are removed as wholes, which is another
# measure. The **low share** is that of max(u, v) below a quarter of the image's side; “first order”
# is the same by the gradient alone, by component at any size.
#
# **RCT** (notebook 2): how much PGD changes each component, as a share of how much of it there is,
# on the images that it fools; and its ratio of high to low frequencies, minus that of white noise
# of the same norms. White noise knows no network: what it does as well says nothing of yours.

# %%
options = {"steps": run.sizes.steps, "resamples": run.sizes.bootstrap, "seed": seed}
settings = comparison.Measuring(run.sizes.occluded, **options).fitting(x)
if images:
    for name, network in networks.items():
        print(f"{name}: {comparison.cost(network, x, settings)}")

# %%
measured = {n: comparison.measure(network, x, labels, settings) for n, network in networks.items()}

# %%
comparison.summary(measured, x, settings).round(3)

# %% [markdown]
# Intervals are over images, for these networks as they are. “fooled” is the share of the images
# classified right that PGD (L∞, 8/255) turns wrong; where it fools fewer than two, there is no RCT.

# %%
for words in comparison.lacking(measured):
    print(words)

# %%
keys = ["quantity", "model"]
rings, side = comparison.curves(measured, x, settings)
if rings:
    run.save_figure(plots.your_curves, curve_table(rings, side, settings.resamples, seed, keys))

# %% [markdown]
# At the left, the share of a component in Occluded Frequency (of a band, by its number of
# components): a network that rests on low frequencies falls steeply. At the right, the RCT: it
# rises for white noise too, because images have little of high frequencies to begin with; only what
# lies apart from the black line is the attack's.

# %%
maps = comparison.maps(measured, x, settings)
if maps:
    run.save_figure(plots.your_maps, map_table(maps, keys))

# %% [markdown]
# A column is a network, the upper row what it rests on, the lower what PGD changes, beside white
# noise of the same norms. Within a row the colours are the same, so networks can be compared.
# The upper row is a mean over the images that drew a component, and few drew a high one: single
# points there are noise, and what is grey nobody drew. A bright column or row in one network alone
# would be waves that it hangs on for a reason of its own, such as an artefact of its data.
#
# ## Side by side
#
# Networks on the same images are compared image by image, so that what the images have in common
# drops out: the mean of the differences, with its 95 % interval over images. An interval that holds
# 0 says that these images do not tell the two apart. By class there are few images each, and of
# many intervals some miss 0 by chance.

# %%
apart = comparison.differences(measured, x, labels, data.classes, settings)
if len(measured) > 1:
    run.save_figure(plots.your_differences, apart)

# %%
for row in apart[(apart.quantity == "low share") & (apart.group == "all")].to_dict("records"):
    words = "{model} minus {minus}: low share {difference:+.2f} [{from:.2f}, {to:.2f}]"
    run.say(f"{words.format_map(row)}, {beside_zero(row['from'], row['to'])}.")

# %% [markdown]
# Zero is the first network. At the left, a curve that is above zero in the first bands and below it
# in the last is a network that rests on low frequencies more. At the right the same by class: if
# only few classes carry the difference, it is about these and not about the network as a whole.

# %%
apart[~apart.quantity.str.startswith("OF ")].round(3)

# %% [markdown]
# **The question answered.** What a network rests on is its Occluded Frequency, what an attack
# changes is the RCT beyond that of white noise, and how two networks differ is the table of
# differences, where an interval without zero is an answer and one with zero is none. What this says
# of robustness is another question, that of notebook 4.
#
# **Deviations and limits.** One network of a kind says nothing about its kind: train several from
# several starts, and compare those (notebook 4). PGD with so few steps is no proof of robustness. A
# share of Occluded Frequency is of the absolute changes, so it counts a component that speaks
# against the class as well. Bands and components give different shares, so compare networks at one
# image size only. A network in half precision is measured as a copy in single precision, since
# small changes of a logit would round to nothing.
