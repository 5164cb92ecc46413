# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 0 · Three papers in three minutes
#
# **Question.** What are these papers about, and what does each one's most telling picture look
# like, made here and now?
#
# **In the papers.** Three methods that look inside a vision network: at the frequencies that it
# uses ([arXiv 2005.03141](https://arxiv.org/abs/2005.03141)), at what others learn of an image
# when they compute for you ([arXiv 2512.09309](https://arxiv.org/abs/2512.09309)), and at the
# images that decide how well it survives with few bits
# ([arXiv 2511.15411](https://arxiv.org/abs/2511.15411)).
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | all | OpenMoji scenes, drawn here | under 1.6 GB | none | CPU; D4C's part: CPU or GPU |
#
# *Measured when published: default 56 s of one core, 1442 MB.*
#
# The parts of the other two papers stay on the CPU; D4C's takes a GPU where CUDA finds one
# (untested). Everything is computed in this notebook, from networks and sets that are in the
# repository; nothing is read from an earlier run. The other notebooks take one paper each, measure
# its claims and say which hold; they import one paper only, this one shows all three.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"

# %%
from paperlib.notebook.start import start
from paperlib.tour import sizes

run = start("00_tour", sizes, profile=profile, seed=seed, dataset=dataset)

# %% [markdown]
# ## One: which frequencies does a network use?
#
# An image is a sum of cosine waves, coarse ones and fine ones: that is its *discrete cosine
# transform*. Wang et al. ask which of them a network needs. Take one wave out of an image, see by
# how much the network's score of the right class changes, and do so for each of the 1,024 waves of
# a 32 × 32 image: that is *Occluded Frequency*. The coarsest wave is at the top left of a map, the
# finest at the bottom right.
#
# The same for a network that was trained as usual and for one that was trained on *adversarial*
# images, which were changed by just so little that they fool it.

# %%
from paperlib.freq import plots as freq_plots
from paperlib.freq.occlusion import low_share
from paperlib.freq.sampled import mean_maps
from paperlib.freq.tables import map_table
from paperlib.freq.variants import ADVERSARIAL, ARCHITECTURES, LOW_CUTOFF, load_images
from paperlib.notebook.words import compared

# %%
images = load_images(dataset, "test").sample(run.sizes.images, seed)
panels = [(arch, how) for arch in ARCHITECTURES for how in ("natural", ADVERSARIAL[dataset])]
maps = mean_maps(dataset, panels, images.floats(), images.labels)  # each (32, 32)

# %%
run.save_figure(freq_plots.of_maps, map_table(maps, ["architecture", "variant"]))

# %%
than = {"more": "more than the usual", "less": "less than the usual", "same": "as the usual"}
for arch, title in ARCHITECTURES.items():
    pair = (low_share(maps[key], LOW_CUTOFF).item() for key in reversed(panels) if key[0] == arch)
    words = compared(*pair, **than)
    run.say(f"{title}: share of the 64 coarsest waves after adversarial training {words}.")

# %% [markdown]
# Bright is what the prediction hangs on; all four networks use coarse waves most. Compare left and
# right, bottom right corner above all. The paper says that adversarially trained networks rest on
# coarse waves more, and that they are robust because of it, since attacks hide in the fine ones.
# Whether that holds is measured over more images in notebook [3](03_occlusion.ipynb), what it has
# to do with robustness in [4](04_robustness.ipynb), and what attacks change in
# [2](02_rct.ipynb).

# %% [markdown]
# ## Two: can others compute for you without seeing your image?
#
# Segment Anything finds the outline of whatever you point at, but its image encoder is too heavy
# for a phone. Ding et al. have servers compute it, each on some *windows* of the image, so that no
# server ever has the whole; the phone does the steps that mix windows. What can one curious server
# make of its part? Here it tries to rebuild the rest: by a mean colour, by continuing the colours
# smoothly, by networks that were trained to fill in (two of them also from the *tokens* that the
# server gets in a later round), and by what is usual in photographs.

# %%
from paperlib.models.sam import load_sam
from paperlib.notebook.figures import as_pixels
from paperlib.pedsam.attacks import plots as pedsam_plots
from paperlib.pedsam.attacks import privacy
from paperlib.pedsam.attacks.images import targets_of
from paperlib.pedsam.attacks.networks import SAM
from paperlib.pedsam.small_sam.scenes import load_draws as load_scenes
from paperlib.pedsam.split.partition import SERVERS

# %%
scenes = load_scenes(dataset, len(SERVERS), 1, seed).images[0]
table, pictures = privacy.examples(targets_of(load_sam(SAM), scenes), SERVERS, seed)

# %%
pixels = {name: as_pixels(shown) for name, shown in pictures.items()}
run.save_figure(pedsam_plots.rebuilt, table, pixels)

# %% [markdown]
# Each row is another scene: what the server has at the left, the truth at the right, and between
# them its guesses. With two servers half of the image is simply there. With sixteen a server has
# one window, and the guesses are fog. How much leaks, also from the tokens of later rounds and to
# servers that put their parts together, is measured in notebook [8](08_privacy.ipynb); that the
# outlines stay as good, in [7](07_segmentation.ipynb).

# %% [markdown]
# ## Three: can a network be squeezed without any data?
#
# CLIP tells which of some sentences fits an image. To run on small machines its numbers are rounded
# to a few bits, *quantized*. How coarsely to round, where, is chosen by running images through it:
# the *calibration images*. If the real ones are private, one must make some up. D4C asks the CLIP
# itself for them: it begins with noise and changes it until the CLIP sees what a sentence says.
#
# Here a small CLIP at 4 bits a weight and 3 bits an activation (W4A3) with images of four kinds:
# real ones, noise, noise that has the colours and slopes of photographs, and D4C's, which the
# paper's recipe made once on a GPU, in 2,000 of its 3,000 iterations, and which stand in
# `data/d4c_sets`.

# %%
import pandas as pd

from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.methods import TITLES
from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.published import calibration_set
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.zero_shot import load_draws, task_features, top1
from paperlib.tour import plots

BITS = "W4A3"

# %%
clip, tokenizer = load_encoders(dataset, ["vit"])["vit"]
test = load_draws(dataset, "test", run.sizes.test_images, 1, seed)[0]
whole = 100 * top1(clip, task_features(clip, tokenizer, dataset), test)
settings = Settings(**run.sizes.clip, **bit_widths(BITS), seed=seed)
real = load_draws(dataset, "train", settings.images, 1, seed)[0]

# %%
methods = "real", "gaussian", "spectrum", "d4c"
given = (clip, tokenizer), settings, 0, run.sizes.published, real
made = {method: calibration_set(dataset, "vit", method, *given) for method in methods}

# %%
texts_done = quantize_text(clip, tokenizer, settings, zero_shot_task(dataset).templates)
texts = task_features(texts_done, tokenizer, dataset)
tops = {
    method: 100 * top1(quantize_image(texts_done, made[method]), texts, test) for method in made
}

# %%
table = pd.DataFrame({"images": [TITLES[method] for method in tops], "accuracy": tops.values()})
run.save_figure(plots.calibration, table.assign(bits=BITS, whole=whole))

# %%
for other in ("real", "gaussian", "spectrum"):
    words = {"more": "above", "less": "below", "same": "level with", "unit": " %"}
    pair = compared(tops["d4c"], tops[other], **words)
    run.say(f"With {TITLES['d4c']}'s images {pair} with {TITLES[other]}.")

# %% [markdown]
# The dashed line is the CLIP before. At 8 bits nearly any images would do; at so few bits they
# decide, so it is fair to ask where good ones come from when there are no real ones. D4C's own
# synthesis is shown in notebook [11](11_synthesis.ipynb), and what its images are worth beside
# simpler ones, over many draws, in [12](12_quantization.ipynb).

# %% [markdown]
# ## The question answered
#
# Each paper makes visible what a network rests on: waves, windows, or the images that it was tuned
# with. The pictures above were made from few images, so they show an idea and prove nothing. Which
# of the papers' claims hold when they are measured stands on the first page of
# [README](../README.md), and every claim in full [here](../docs/claims.md).
#
# **Deviations and limits.** Small networks, trained here, on drawn images; one draw, no spread.
# D4C has 16 images, no learned rounding, and one of two encoders.
