# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Why data-free calibration images fail on CLIP
#
# **Question.** What do the images of data-free methods lack, for a CLIP, beside real ones?
#
# **In the paper.** D4C, [arXiv 2511.15411](https://arxiv.org/abs/2511.15411), abstract: "two key
# limitations: insufficient semantic content and low intra-image diversity in synthesized samples".
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji scenes, drawn here | under 1.6 GB | none | CPU or GPU |
# | paper | CIFAR-10 | under 4 GB | CIFAR-10, if no copy is given | CPU or GPU |
#
# *Measured when published: default 80 s of one core, 1532 MB; paper 3 minutes, 2013 MB.*
#
# `model="RN50"` or another of OpenAI's CLIPs (`weights` names its file, if there is a copy), or a
# config of open_clip with its file, takes that CLIP in place of the small ones, in profile paper
# with the paper's settings: days of a CPU. What is said below of small CLIPs is not said of it.
#
# Tested on one core of a CPU; a GPU is used where CUDA finds one (untested).

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, cifar10
model = ""  # RN50, ViT-B/32 or any CLIP of open_clip in place of the small ones
weights = ""  # of that CLIP: its file, or the folder of OpenAI's

# %%
from paperlib.d4c import sizes
from paperlib.notebook.start import start

named = {"model": model, "weights": weights}
run = start("10_limits", sizes, profile=profile, seed=seed, dataset=dataset, **named)

# %%
import itertools

import torch
from IPython.display import display

from paperlib.d4c import synthesis_plots as plots
from paperlib.d4c.baselines import real_images
from paperlib.d4c.claimed import information_claims
from paperlib.d4c.encoders import ENCODERS, chosen_encoders, other_towers
from paperlib.d4c.methods import TITLES, data_free_baseline
from paperlib.d4c.prompts import GENERIC_NAMES, photo
from paperlib.d4c.published import calibration_sets, iterations_in_words, told_of_first_sets
from paperlib.d4c.semantics import (
    check_sight,
    patch_similarities,
    prompt_similarities,
    told_apart,
)
from paperlib.d4c.settings import Settings
from paperlib.d4c.tables import (
    REFERENCE,
    cumulative_table,
    distance_table,
    examples_table,
    information_table,
    mean_table,
    nearer_table,
    plane_table,
)
from paperlib.d4c.zero_shot import load_draws
from paperlib.models.clip import class_features, denormalise, encode_images
from paperlib.notebook.figures import as_pixels
from paperlib.notebook.words import ranked
from paperlib.paths import outputs_dir

# %% [markdown]
# ## The images
#
# Noise; the data-free baseline, which is BNS for a ResNet and PSE for a ViT; and D4C, whose
# synthesis notebook 11 takes apart. Real images are a sample of the training split that is as
# large; what all of them are compared with is another, larger sample. Every draw has images of its
# own; no two share a real one. BNS, PSE and D4C are published sets, which the paper's recipe made
# (`data/d4c_sets`, see notebook 11), unless the profile makes its own here. Those of OpenMoji have
# its 3,000 iterations, those of CIFAR-10 a third of them; D4C has temperature and names of the
# pilot in notebook 11.
#
# CLIP is a pair of networks, the *towers*, one for images and one for texts, whose features are
# alike where image and text belong together. *BNS* moves noise until the means and variances inside
# a ResNet are those that its batch normalisations have kept from training; *PSE* makes the
# similarities between a ViT's patches as diverse as it can. Both use the image tower alone and ask
# for no content; D4C asks for that of a sentence.

# %%
clips, own, label = chosen_encoders(run, **named)
methods = {
    name: ["real", "gaussian", data_free_baseline(model), "d4c"]
    for name, (model, _) in clips.items()
}

# %%
count = max(Settings(**changes).images for changes in own.encoders.values())
draws = load_draws(dataset, "train", count + own.real_images, own.seeds, seed)
kept = outputs_dir() / "calibration_images"
images = calibration_sets(dataset, clips, methods, own, seed, draws, kept)
print(f"{count} images a method and draw, {own.real_images} real ones to compare with")

# %%
every = dict(images)  # with the larger sample of real ones
for (name, (clip, _)), (k, data) in itertools.product(clips.items(), enumerate(draws)):
    others = data.subset(torch.arange(count, len(data)))
    every[name, k, REFERENCE] = real_images(clip, others)

# %%
rows = [(next(iter(clips)), method) for method in ("real", "gaussian")]
rows += [(name, method) for name in clips for method in methods[name][2:]]
pictures = {row: images[row[0], 0, row[1]][: own.shown].cpu() for row in rows}
pixels = as_pixels(denormalise(torch.cat(list(pictures.values()))))
run.save_figure(plots.examples, examples_table(pictures), {"images": pixels})

# %% [markdown]
# Real scenes have an object before a coloured ground. Noise shows nothing, nor do BNS and PSE to
# the eye: they are noise with other statistics. In D4C's images a box stands out, in which strokes
# and colours gather before a calmer ground: the texture of an object rather than an object.
#
# ## Semantics: similarity to prompts
#
# For every image the largest cosine similarity to the prompts "a photo of a ...", with generic
# names,
#
# $$\max_t\; f(x)^\top g(t).$$
#
# An image that shows something is near one of them; what shows nothing has no prompt of its own.

# %%
texts = {name: class_features(*clip, GENERIC_NAMES, [photo]) for name, clip in clips.items()}
largest = {}
for key, drawn in every.items():
    similarities = prompt_similarities(clips[key[0]][0], texts[key[0]], drawn)
    largest[key] = similarities.max(1).values.cpu().numpy()

# %% [markdown]
# What the network that made an image finds in it says little: it was asked. So **the other tower
# judges**, by how many prompts a set of images tells apart,
#
# $$\exp\Bigl(H\bigl(\overline{p}\bigr) - \overline{H(p)}\Bigr),\qquad
# p(t \mid x) = \mathrm{softmax}_t\, \cos\bigl(f(x), g(t)\bigr)/\tau,$$
#
# with the judge's own temperature: 1 if the images show nothing or all the same, at most their
# number if each shows something else. Noise is the null control, real images the positive one: a
# judge that tells two prompts apart in noise, or no more in real images, would stop the notebook.

# %%
judges = other_towers(dataset, clips)
for name, (judge, _) in judges.items():
    print(f"{ENCODERS[name]}'s images are judged at τ = {1 / judge.logit_scale.exp().item():.3f}")

# %%
told = told_apart(judges, images)
check_sight(told)
information = information_table(told, count)
information.rename(index=TITLES | ENCODERS).round(2)

# %%
for name, means in information["prompts told apart"].unstack().iterrows():
    order = ranked(means.dropna().rename(TITLES))
    run.say(f"{ENCODERS[name]}, prompts that the other tower tells apart: {order}.")

# %% [markdown]
# The number of images caps it, and a whole image may hide what D4C writes into its foreground. All
# of D4C's first set (128 on OpenMoji, 16 on CIFAR-10) and as many of each other method, whole and
# in the boxes that are the foreground of D4C's, the same for every method:

# %%
if own.published:
    told_of_all = told_of_first_sets(dataset, clips, methods, own, seed)
    display(told_of_all.rename(index=TITLES | ENCODERS).round(2))

# %% [markdown]
# ## Diversity inside an image: similarity between patches
#
# For every image the cosine similarities between different places of the deepest feature map of at
# least 4 × 4. An image that is the same all over has patches that are all alike; one with an object
# before a background has some that are and some that are not.

# %%
between = {
    key: patch_similarities(clips[key[0]][0], drawn).flatten().cpu().numpy()
    for key, drawn in every.items()
}

# %% [markdown]
# Read the curves as: this share of the images, or pairs of patches, is at most as similar.

# %%
run.save_figure(plots.semantics, cumulative_table(largest))

# %%
for name, means in mean_table(largest).iterrows():
    order = ranked(means.dropna().rename(TITLES))
    run.say(f"{ENCODERS[name]}, mean similarity to the nearest prompt: {order}.")

# %% [markdown]
# A curve further to the right is a set of images of which each is nearer to some prompt. The curve
# of real images is the one to compare with, be it at the right of the others or not. The next
# figure asks the same of pairs of patches within an image.

# %%
run.save_figure(plots.patches, cumulative_table(between))

# %% [markdown]
# A steep curve is a set of images that are all alike in this respect, as noise is; real images have
# the flattest. The nearer a curve is to theirs, the more alike the sets are; the distance below is
# the area between two curves.
#
# ## How far from real images?
#
# The Wasserstein distance between the distribution of a method and that of the larger sample of
# real images; that of the smaller sample of real images says how much of a distance is chance.
#
# It is the least that values would have to be moved, on average, to turn one distribution into the
# other, in units of similarity. Only what exceeds the distance of real images from real images says
# something of a method.

# %%
distances = distance_table({"semantics": largest, "patches": between})
means = distances.groupby(["encoder", "what", "method"], sort=False).distance.mean()
means.unstack(sort=False).rename(columns=TITLES, index=ENCODERS).round(3)

# %%
for (name, what), row in means.unstack(sort=False).iterrows():
    order = ranked(row.dropna().rename(TITLES))
    run.say(f"{ENCODERS[name]}, {what}, distance from real images: {order}.")

# %% [markdown]
# ## Feature space
#
# Image features on the plane of the first two principal components of real ones, from the first
# draw.

# %%
features = {
    name: {m: encode_images(model, every[name, 0, m]) for m in [REFERENCE, *methods[name][1:]]}
    for name, (model, _) in clips.items()
}
run.save_figure(plots.plane, plane_table(features))

# %% [markdown]
# Points in one spot are one and the same image to the network, as is to be expected of noise. A set
# that spreads among the real images shows it different things. A plane shows little of the space,
# as the shares of the variance say.
#
# ## Claims
#
# How much nearer to real images D4C's are than the nearest of noise and the baseline.

# %%
smallest = nearer_table(distances).groupby(["what", "draw"]).nearer.min()
encoders = ", ".join(ENCODERS[name] for name in clips)
scale = f"{encoders}; {count} images a method, {own.seeds} draws"

# %%
said = []
for name, changes in own.encoders.items():
    given = methods[name][2:], Settings(**changes), own.published
    said.append(f"{ENCODERS[name]}: {iterations_in_words(dataset, name, *given)}")
note = "; ".join(said)

# %%
found = smallest["semantics"].tolist()
run.check("d4c-2-semantics", found, scale=scale, source=data, note=note, model=label)

# %%
for claim, _, values, about in information_claims(told, count):
    run.check(claim, values, source=data, note=note, model=label, **about)

# %%
found = smallest["patches"].tolist()
run.check("d4c-2-diversity", found, scale=scale, source=data, note=note, model=label)

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **The question answered.** Images show something if another network tells prompts apart in them.
# Noise is the lower end of that, real images are the upper one, and the lines above say where
# between them the images of earlier methods lie, where D4C's, and whether the difference is more
# than that between draws.
#
# **Why the similarities may say otherwise.** That to a prompt is of the whole image and of the
# network that was asked. D4C writes its prompt into a box and makes the rest unlike it, which costs
# it similarity as a whole; and noise can be near to a prompt, all of it to the same one, which is
# not to show something. In the patches BNS keeps the statistics of the activations, and PSE
# optimises just these similarities, so that both begin with an advantage that is none of content.
#
# **Deviations and limits.** The paper shows these limits with a projection and with maps of
# similarities, whose exact measure could not be read; the two distributions and their distance are
# ours. Every set is asked about the generic names, which are not those of the data set; D4C's
# images were made from names of ImageNet, of which few are among them, but for those of OpenMoji's
# ViT, which were made from the generic names themselves: it has that advantage. The published
# sets have the paper's recipe, but on OpenMoji D4C on the ViT stopped after two thirds of its
# iterations, on CIFAR-10 all sets after one third; a profile that makes its own images takes far
# fewer.
