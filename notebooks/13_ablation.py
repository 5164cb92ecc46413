# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · Ablation and cost of D4C
#
# **Question.** What does each part of D4C's synthesis add to the accuracy, and what does it cost?
#
# **In the paper.** D4C, [arXiv 2511.15411](https://arxiv.org/abs/2511.15411): its ablation has the
# rows PGSI, PGSI + SCG, PGSI + PAE and all three, which is D4C; the README of the official code
# gives the seconds of the synthesis on one RTX A6000.
#
# An *ablation* leaves a part out and measures again. PGSI (prompt-guided semantic injection) moves
# an image towards the features of its sentence; SCG (structural contrastive generation) asks for
# that in a box and for its opposite around it; PAE (perturbation-aware enhancement) shows the
# network another random view in every step. PGSI is in all rows, as the others have nothing to work
# on without it.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji scenes, drawn here | under 1.6 GB | none | CPU or GPU |
# | paper | CIFAR-10 | under 4 GB | CIFAR-10, if no copy is given | CPU or GPU |
#
# *Measured when published: default 4 minutes of one core, 1499 MB; paper 16 minutes, 1488 MB.*
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
run = start("13_ablation", sizes, profile=profile, seed=seed, dataset=dataset, **named)

# %%
import itertools

import numpy as np
import pandas as pd
import torch

from paperlib.d4c import cost
from paperlib.d4c import quantization_plots as plots
from paperlib.d4c.ablation import (
    ablation_means,
    ablation_table,
    control_gains,
    of_the_next_draw,
    part_factors,
    part_gains,
    part_stakes,
)
from paperlib.d4c.claimed import part_claims
from paperlib.d4c.comparison import compare, decisive_plans
from paperlib.d4c.encoders import ENCODERS, chosen_encoders
from paperlib.d4c.methods import ABLATION, TITLES
from paperlib.d4c.published import calibration_sets, iterations_in_words
from paperlib.d4c.reported import reported
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.tables import by_method, over_draws
from paperlib.d4c.zero_shot import load_draws
from paperlib.notebook.words import beside_zero, compared, ranked
from paperlib.paths import outputs_dir
from paperlib.runtime import device

# %% [markdown]
# ## Four sets of calibration images
#
# From the same noise, with the same prompts; only what the synthesis does to them differs. Notebook
# 11 shows it. They are published sets, by the paper's recipe (`data/d4c_sets`), unless the profile
# makes its own here.
#
# Because start and prompts are shared, two sets of one draw can be compared image by image: what
# differs is the part alone, and for the published D4C of OpenMoji's ViT the iterations: 2,000 in
# place of 3,000. The draws are the repetition that says how much of a difference is chance. Two
# controls say whether the comparison can tell: PGSI's set of the next draw, to which nothing was
# added (null), and noise, to which PGSI should add something (positive): where it does not, gains
# over PGSI say little. Real images say what could be added: where a row is level with them, no part
# can gain on it.

# %%
clips, own, label = chosen_encoders(run, **named)
tests = load_draws(dataset, "test", own.test_images, own.seeds, seed)

# %%
count = max(Settings(**changes).images for changes in own.encoders.values())
real = load_draws(dataset, "train", count, own.seeds, seed)
methods = dict.fromkeys(clips, ("gaussian", "real", *ABLATION))

# %%
kept = outputs_dir() / "calibration_images"
images = calibration_sets(dataset, clips, methods, own, seed, real, kept)
images |= of_the_next_draw(images)

# %% [markdown]
# ## Accuracy
#
# Quantized with each of them, at the bit-widths at which the calibration images decide (notebook
# 12); beside it the share of pixel values that are darker than black or brighter than white. As
# there, weights and text tower are quantized once a draw, and each set of images gives the ranges
# of the image tower. Where notebook 12 ran before with the same outputs, noise, real images and D4C
# are what it kept.

# %%
plans = decisive_plans(own, seed)
given = clips, plans, images, tests, dataset, outputs_dir() / "quantized"
measured = ablation_table(compare(*given).top1, images)

# %%
table = ablation_means(measured)
table.replace({"encoder": ENCODERS, "method": TITLES}).round(1)

# %% [markdown]
# What each part adds, draw by draw: to PGSI alone, and to PGSI with the other part.
#
# A part can be worth something alone and nothing beside the other, or the other way round, so both
# are given. A gain above zero in every draw would speak for the part; gains of both signs do not
# speak against it, they say that these draws are too few. Below them the two controls: the null
# control's mean is zero by construction, as every set stands once on either side; its spread is
# that of sets that share neither noise nor prompts; gains share both, so each has its own interval
# over draws, and that decides, and the positive control is what it looks like when something was
# added.

# %%
wide = by_method(measured, ["encoder", "draw"])
gains, stakes = part_gains(wide), part_stakes(wide)
every = gains.join(control_gains(measured))
every.groupby("encoder").agg(["mean", "std"]).T.unstack().rename(columns=ENCODERS).round(1)

# %%
run.save_figure(plots.ablation, measured)

# %% [markdown]
# A point a draw, a line for the mean. Where the points of two rows overlap, so few draws do not
# tell them apart. PGSI and PGSI with the sets of other draws should overlap, noise should lie below
# both.

# %%
for (name, mine), gain in itertools.product(every.groupby("encoder", sort=False), every):
    words = beside_zero(*(over_draws(mine[gain]) or (np.nan, np.nan)))
    run.say(f"{ENCODERS[name]}, {gain}: {mine[gain].mean():+.1f} points, {words}.")

# %%
for name, rows in table.groupby("encoder", sort=False):
    order = ranked(rows.set_index("method")["out of range (%)"].rename(TITLES), unit=" %")
    run.say(f"{ENCODERS[name]}, values out of the range of an image: {order}.")

# %% [markdown]
# ## Claims
#
# One a gain and encoder, with the 95 % interval over draws (Student's t). The smallest of several
# gains would fall below zero by chance even if all were zero; so each is checked by itself. Beside
# it stands what is at stake: what real images gain over the row that the part is added to. Where
# that is under a point, the part had nothing to win; where that is open, the claim is undecided. A
# part that clearly costs more than a point does not add accuracy, whatever was at stake.

# %%
for claim, name, values, about in part_claims(gains, stakes, own.test_images):
    chosen = Settings(**own.encoders[name])
    note = iterations_in_words(dataset, name, ABLATION, chosen, own.published)
    run.check(claim, values, source=tests[0], note=note, model=label, **about)

# %% [markdown]
# ## Cost of the synthesis
#
# A few iterations of one mini-batch, timed, and from them the seconds an image at the paper's
# number of iterations. The work of an iteration does not depend on its number.

# %%
timed = cost.synthesis_cost(clips, own.encoders, own.timed_iterations)
threads = torch.get_num_threads()
print(f"{device().type}, threads: {threads}; {Settings.synthesis_iterations:,} iterations")

# %% [markdown]
# Below, the README's seconds, for an image. **Other hardware and other models**: a GPU and
# full-size CLIPs with 224 × 224 pixels and more there, here small ones with 64 × 64. What can be
# compared is the ratio of D4C to the baseline of the same encoder.

# %%
paper = reported("synthesis_seconds")
paper["s an image"] = paper.value / Settings.images
here = f"here: {model or 'small CLIPs, 64 px'}"
both = {here: timed, "README: RTX A6000, full size": paper}
cost_table = pd.concat(both).droplevel(1).rename_axis("where").reset_index()

# %%
keys = ["where", "encoder"]
shown = cost_table.pivot_table(index=keys, columns="method", values="s an image", sort=False)
shown["D4C / baseline"] = shown.d4c / shown[["bns", "pse"]].bfill(axis=1).iloc[:, 0]
shown.rename(columns=TITLES).round(2).astype(object).fillna("")

# %%
run.save_figure(plots.cost, cost_table)

# %% [markdown]
# Bars of one panel can be compared. SCG's backgrounds double the images that are encoded; PAE's
# perturbations change pixels and ask no network.

# %%
for name, factor in part_factors(timed).iterrows():
    words = {"more": "more than", "less": "less than", "same": "like", "unit": " times"}
    pair = compared(factor.SCG, factor.PAE, **words)
    run.say(f"{ENCODERS[name]}: an iteration of PGSI takes with SCG {pair} with PAE.")

# %% [markdown]
# PSE, the baseline of ViTs, compares all patches of an image with one another, so its work grows
# with the square of their number: the README's two ViTs differ in the width of their patches, 32
# pixels and 16.
#
# ## Seconds of every stage
#
# Of one quantization with the sizes of this profile, the rounding learned. The README reports for
# the reconstruction of one encoder:

# %%
reported("reconstruction_seconds")[["encoder", "value", "unit"]]

# %%
bits = {name: bit_widths(own.decisive[name]) for name in clips}
learned = {name: Settings(**{**own.encoders[name], **bits[name]}) for name in clips}
of_d4c = {name: images[name, 0, "d4c"] for name in clips}
cost.stage_table(clips, learned, of_d4c, tests[0], dataset).round(1)

# %%
chosen = next(iter(learned.values()))
print(f"{chosen.images} images, {chosen.prompts} prompts")
print(f"{chosen.reconstruction_iterations} iterations, {chosen.reconstruction_batch} in a batch")

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **Why a part may cost accuracy.** A pattern that survives other colours and a blur is a strong
# one. PAE sends more values out of the range of an image with either encoder, SCG takes some of
# them back with the ViT: where such a step and accuracy move the same way, values out of range do
# not explain the gain. Where one draw makes most of a difference, the interval over draws is wide
# and decides nothing.
#
# **The question answered.** The gains of each part, alone and on top of the other, are in the
# table, beside what the comparison shows of nothing and of something; the lines above say whether
# all of them are gains. The cost is that of the iterations: SCG makes each of them longer, PAE
# hardly, and there are thousands, where images that ask no network need none.
#
# **Deviations and limits.** As in notebook 12; on OpenMoji's ViT the published D4C has 2,000
# iterations, each other row 3,000; on CIFAR-10 every row has 1,000. Times depend on the machine and
# on what else runs on it. The synthesis computes in bfloat16 where the profile says so; the
# README's seconds are for the paper's mini-batches.
