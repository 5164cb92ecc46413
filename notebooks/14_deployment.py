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
# image tower run with real 8-bit integers: how large, how fast, how accurate is it? And which
# layers have to pay for a smaller file?
#
# **In the paper.** D4C, [arXiv 2511.15411](https://arxiv.org/abs/2511.15411), simulates
# quantization in floating point, as is usual, and gives all layers of the image tower the same
# bits. Size and speed are what quantization is for. It says that a ViT's ranges can be folded into
# the norms before them, and does not measure it.
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
# *Measured when published: default 4 minutes of one core, 1569 MB; paper 19 minutes, 1510 MB.*
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
import pandas as pd
import torch

from paperlib.d4c import deployment, integer, sensitivity
from paperlib.d4c import quantization_plots as plots
from paperlib.d4c.comparison import first_plans
from paperlib.d4c.encoders import ENCODERS, chosen_encoders
from paperlib.d4c.published import calibration_sets
from paperlib.d4c.zero_shot import load_images, task_features, top1
from paperlib.notebook.words import beside_zero, compared, counted, number
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

# %% [markdown]
# A ViT's layers behind a LayerNorm, q, k, v and the first of the MLP, have an input with a scale
# and a zero point for each channel $c$. These can be *folded* into the LayerNorm:
#
# $$\gamma'_c = \gamma_c / r_c, \quad \beta'_c = \beta_c / r_c + t_c, \quad
# W' = W\,\mathrm{diag}(r), \quad b' = b - W' t.$$
#
# Here $r_c$ is the scale of the channel over their mean, and $t_c$ moves its zero point to their
# mean. One scale and zero point in all are left, and q, k and v share one quantizer of their input.
# In floating point the network is the same, and the codes of the activations stay as they were. But
# the weights now hold the scales of the channels, and their ranges are searched and their rounding
# learned after that, so few bits may fit them worse. A ViT is quantized both ways, with the same
# images.

# %%
given = clips, first_plans(own, seed), images, dataset, outputs_dir() / "quantized"
quantized, nearest = deployment.quantize_towers(*given)
texts = {n: task_features(model, clips[n][1], dataset) for n, model in nearest.items()}

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
quantized = loaded  # one of two that are equal is enough

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
# file. Layers whose inputs have a range a channel stay as they are: those of a ViT that is not
# folded. Folded, all its linear layers run on integers; the products q·k and softmax·v of its
# attention do not, they stay in floating point, of values that are quantized.

# %%
print("torch has integer products on this processor:", integer.has_kernels())
towers, differences = deployment.on_integers(quantized, some)
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
measured, right = deployment.side_by_side(clips, quantized, towers, test, dataset, *timed)
measured.round(2)

# %% [markdown]
# What folding costs in accuracy, image by image: both kinds of a ViT see the same test images, so
# the difference has an interval over them.

# %%
for _, row in deployment.folding_gains(right).iterrows():
    words = beside_zero(row.low, row.high)
    pair = compared(row["folded (%)"], row["unfolded (%)"], unit=" %", digits=3)
    run.say(f"ViT, {row.bits}: Top-1 folded {pair} unfolded; the difference is {words}.")

# %%
run.save_figure(plots.deployment, deployment.deployment_table(files, measured))

# %% [markdown]
# On the left each bar is a file. What is quantized shrinks with its bits, the float32 rest does
# not, so the bars fall less than the bits do. On the right each bar is the time of the image tower
# for one image; only a bar of integers that is shorter than that of float32 is a gain. Times of
# another machine can be compared in this ratio only.

# %% [markdown]
# ## What one layer costs
#
# Which layers is it that lose what is lost? Quantize one layer $l$ alone, its inputs at the bits of
# the first row above and its weights at $b$ bits, and all else in floating point. With the unit
# feature $f_i$ of calibration image $i$ its cost is
#
# $$e_l(b) = \frac{1}{n} \sum_i \lVert \hat f_i^{(l, b)} - f_i \rVert^2,$$
#
# relative to the feature's square, which is 1. The error of the features is taken, not that of the
# layer's own output: only the features decide a class, what later layers swallow costs nothing, and
# all layers are told in one unit. Weights are rounded to the nearest code here, as a learned
# rounding makes good what layers before have lost, and alone there are none.
#
# The null control is 8 bits, where a layer should cost next to nothing; the positive one is 2.

# %%
widths = 2, 3, 4, 8
ranges = {n: sensitivity.weight_ranges(model, widths) for n, model in nearest.items()}
given = {n: (model, ranges[n], images[n, 0, "d4c"]) for n, model in nearest.items()}
found = {n: sensitivity.sensitivity(*each) for n, each in given.items()}
costs = pd.concat(found, names=["encoder"]).reset_index("encoder")

# %% [markdown]
# Of each encoder the layers that cost most at the fewest bits, and those that cost least:

# %%
pd.concat({n: sensitivity.ends(each, widths[0], 3) for n, each in found.items()}).map(number)

# %%
run.save_figure(plots.sensitivity, costs)

# %%
for name, each in found.items():
    wide = each.pivot(index="layer", columns="bits", values="cost")
    sums = ", ".join(f"{bits} bits {number(cost)}" for bits, cost in wide.sum().items())
    lower = counted(wide[widths[-1]] < wide[widths[0]] / 10)
    run.say(f"{ENCODERS[name]}, all costs added: {sums}; a tenth or less from 2 to 8: {lower}.")

# %%
for name, each in found.items():
    at = each[each.bits == widths[0]][["cost", "weights"]]
    parts = 100 * at.nlargest(3, "cost").sum() / at.sum()
    pair = compared(parts.cost, parts.weights, unit=" %")
    run.say(f"{ENCODERS[name]}: three layers have, of all costs at 2 bits, {pair} of the weights.")

# %% [markdown]
# A row is a layer, in the order in which an image passes them; the bar goes from the most bits to
# the fewest, and the axis is logarithmic: equal steps are equal factors. Where the bars of the
# first rows lie right of the others, early layers are the ones to spare. A bar that is short
# belongs to a layer whose inputs, not its weights, are what costs.
#
# Worth in accuracy, of the layer that costs most and of the one that costs least: the rest of the
# image tower is in floating point, the text tower quantized as before.

# %%
for name, model in nearest.items():
    for layer in sensitivity.ends(found[name], widths[0], 1).index:
        one = sensitivity.alone(model, ranges[name], layer, widths[0])
        accuracy = 100 * top1(one, texts[name], test)
        run.say(f"{ENCODERS[name]}: with {layer} alone at 2 bits Top-1 is {accuracy:.1f} %.")

# %% [markdown]
# ## Bits a layer, under a size
#
# If layers differ so much, giving all of them the same bits wastes some. Under the size of all
# weights at 3 bits, or at 4, each layer starts at 2, and again and again one gets more: the one
# whose cost falls most for the size that it takes, until nothing fits any more. The calibration
# images alone choose, the test images judge.
#
# Beside it stand the same bits for all, which is the baseline of the same size or a larger one, and
# a control: the same choice by costs that were dealt anew among the layers. If that is as good, the
# costs know nothing. All have the nearest rounding, activations and text tower as above.

# %%
budgets, mixed = (3, 4), {}
for name, model in nearest.items():
    given = ranges[name], found[name], budgets, texts[name], test, seed
    mixed[name] = sensitivity.mixed_precision(model, *given)
pd.concat(mixed, names=["encoder"]).droplevel(1).round(3)

# %% [markdown]
# Chosen by cost, and by costs of other layers, each beside the same bits for all of that size:

# %%
for name, rows in mixed.items():
    for _, row in rows[rows.bits != sensitivity.SAME].iterrows():
        words = beside_zero(row.low, row.high)
        what = f"{ENCODERS[name]}, at most {row.budget} bits, {row.bits}"
        run.say(f"{what}: {row.gain:+.1f} points over the same bits, {words}.")

# %%
for name, rows in mixed.items():
    for budget, error in rows.set_index("bits").groupby("budget").error:
        pair = compared(error[sensitivity.CHOSEN], error[sensitivity.SAME])
        what = f"{ENCODERS[name]}, at most {budget} bits"
        run.say(f"{what}, error of the features: by cost {pair} with the same bits.")

# %% [markdown]
# The errors of the features tell what accuracy near its ceiling cannot. Where the error stays far
# above the added costs, layers make one another's errors larger, and a choice as if they added up
# is none of the best; where the budget is wide, little is left to be gained.

# %% [markdown]
# **The question answered.** A saved model is as small as its bits promise, for what is quantized,
# and reads back as it was. On integers it is as accurate as simulated, as near as the table says; a
# ViT has to be folded for that to hold of all its linear layers, and what that costs or not is said
# below the table. Whether integers are faster depends on the processor and on the sizes of the
# layers; the table says so for this one. What layers cost differs as the figure shows, and under a
# size a choice by that is worth what the last lines say, beside its control.
#
# **Deviations and limits.** Batch normalisation, activations, what is not quantized and the two
# products of an attention stay in floating point, and every layer quantizes its input and gives a
# floating-point output: a compiled network would fuse these. The text tower runs as simulated; its
# features are computed once for a task. Where torch has no integer products, the notebook computes
# the same sums in floating point and shows no speed. Costs, and bits chosen by them, are an
# extension of ours with one set of calibration images, the nearest rounding, bits of the weights
# alone, and a control dealt once; whether a learned rounding leaves anything to gain is not
# measured. The file format has one width for the whole image tower, so sizes of mixed bits are
# counted, not saved.
