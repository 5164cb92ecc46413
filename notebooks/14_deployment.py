# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14 · Deployment: a quantized CLIP as a file, and on integers
#
# **Question.** What is left of the simulation when a quantized CLIP is saved, read back, and its
# image tower run with real 8-bit integers: how large, how fast, how accurate is it?
#
# **In the paper.** D4C, [arXiv 2511.15411](https://arxiv.org/abs/2511.15411), simulates
# quantization in floating point, as is usual. Size and speed are what quantization is for.
#
# A small CLIP judges images by sentences: two networks, the *towers*, turn an image and a text into
# features, and the text whose features are most alike is the answer. Quantized at WnAm, its weights
# have n bits and its activations m. Simulated means that every number is rounded to one of the few
# values that its bits allow, but is still stored and multiplied as a 32-bit float: the accuracy is
# that of the quantized network, the size and the speed are not.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji scenes, drawn here | under 1.6 GB | none | CPU |
# | paper | CIFAR-10 | under 4 GB | CIFAR-10, if no copy is given | CPU |
#
# *Measured when published: default 80 s of one core, 1542 MB; paper 6 minutes, 1588 MB.*
#
# `model="RN50"` or another of OpenAI's CLIPs (`weights` names its file, if there is a copy), or a
# config of open_clip with its file, takes that CLIP in place of the small ones, in profile paper
# with the paper's settings: days of a CPU. What is said below of small CLIPs is not said of it.
#
# Tested on one core of a CPU, on which it stays: its integer products are those of torch on
# processors.

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
run = start("14_deployment", sizes, profile=profile, seed=seed, dataset=dataset, **named)

# %%
import torch

from paperlib.d4c import deployment, integer, plots
from paperlib.d4c.comparison import first_plans, text_towers
from paperlib.d4c.encoders import chosen_encoders
from paperlib.d4c.pipeline import quantize_image
from paperlib.d4c.published import calibration_sets
from paperlib.d4c.zero_shot import load_images
from paperlib.paths import outputs_dir

# %% [markdown]
# ## Quantize
#
# With the first set of D4C's images, as in notebook 12. This notebook computes on the CPU, whose
# integer products it is about.

# %%
clips, own, _ = chosen_encoders(run, **named, place=torch.device("cpu"))
test = load_images(dataset, "test", own.test_images, seed)
methods, kept = {name: ["d4c"] for name in clips}, outputs_dir() / "calibration_images"
images = calibration_sets(dataset, clips, methods, own, seed, [None], kept)

# %%
quantized = {}
for plan, text_done in text_towers(clips, first_plans(own, seed), dataset):
    given = images[plan.encoder, 0, "d4c"], outputs_dir() / "quantized"
    quantized[plan.encoder, plan.bits] = quantize_image(text_done, *given)

# %% [markdown]
# ## Save and read back
#
# Weights are kept as codes, packed to their bits, with a scale and a zero point for each output
# channel; what is not quantized (stem, embeddings, norms, projections into the common space) as
# float32. What is read back gives the same features, bit for bit.
#
# What would refute that the file holds the model is a single feature that differs after reading. So
# the check below asks for equality, not for closeness.

# %%
loaded, files = deployment.through_files(quantized, clips)
files.round(2)

# %% tags=["nbval-check-output"]
some = test.images[:20]
print("equal bit for bit:", deployment.same_features(quantized, loaded, some))

# %% [markdown]
# ## On integers
#
# The simulation multiplies floating-point numbers that happen to lie on a grid. The widths of the
# grids can be taken out of the sum, so that what is summed are integers:
#
# $$y = s_x s_w \sum (q_x - z_x)\, q_w + b.$$
#
# Here $q_x$ and $q_w$ are the codes of the input and of the weights, $s_x$ and $s_w$ the widths of
# a step, $z_x$ the code that stands for zero, and $b$ the bias. Inside the sum all numbers are
# integers; the scales multiply once for each output. If every channel of the input had a scale of
# its own, $s_x$ could not be taken out of the sum.
#
# oneDNN, a part of torch, computes such sums: 8 bits times 8 bits into 32. Codes of fewer bits are
# stretched to 8 when they are loaded, so they are not faster than 8-bit ones, only smaller in the
# file. Layers whose inputs have a range a channel stay as they are; ViTs have such.

# %%
print("torch has integer products on this processor:", integer.has_kernels())
towers, differences = deployment.on_integers(loaded, some)
differences.round(4)

# %% [markdown]
# The features differ from the simulation's by what the last column says: where a value lies
# half-way between two codes, the last digit of a sum decides which one it gets.
#
# Now the question that decides whether the integers were worth it: accuracy and time, side by side.
# The network in float32 is the baseline for both. The simulation is the control: it should be as
# accurate as the integers and slower than float32, since it does the same products and rounds
# besides.

# %%
timed = own.timed_images, own.timed_seconds
measured = deployment.side_by_side(clips, loaded, towers, test, dataset, *timed)
measured.round(2)

# %%
run.save_figure(plots.deployment, deployment.deployment_table(files, measured))

# %% [markdown]
# On the left each bar is a file. What is quantized shrinks with its bits, the float32 rest does
# not, so the bars fall less than the bits do. On the right each bar is the time of the image tower
# for one image; only a bar of integers that is shorter than that of float32 is a gain. Times of
# another machine can be compared in this ratio only.

# %% [markdown]
# **The question answered.** A saved model is as small as its bits promise, for what is quantized,
# and reads back as it was. On integers it is as accurate as simulated, as near as the table says.
# Whether it is faster depends on the processor and on the sizes of the layers; the table says so
# for this one.
#
# **Deviations and limits.** Batch normalisation, activations, what is not quantized and the two
# products of an attention stay in floating point, and every layer quantizes its input and gives a
# floating-point output: a compiled network would fuse these. The text tower runs as simulated; its
# features are computed once for a task. Where torch has no integer products, the notebook computes
# the same sums in floating point and shows no speed.
