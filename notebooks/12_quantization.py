# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Quantization: what calibration images are worth
#
# **Question.** How accurate is a CLIP after quantization with D4C's images, beside real images,
# noise and the images of earlier data-free methods?
#
# **In the paper.** D4C, [arXiv 2511.15411](https://arxiv.org/abs/2511.15411), abstract: at W4A8
# D4C's images give a higher zero-shot accuracy than the data-free baseline, on RN50 and ViT-B/32.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji scenes, drawn here | under 1.6 GB | none | CPU or GPU |
# | paper | CIFAR-10 | under 4 GB | CIFAR-10, if no copy is given | CPU or GPU |
#
# *Measured when published: default 9 minutes of one core, 1520 MB; paper 20 minutes, 1517 MB.*
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
run = start("12_quantization", sizes, profile=profile, seed=seed, dataset=dataset, **named)

# %%
import pandas as pd
from IPython.display import display

from paperlib.d4c import controls, difficulty, learned
from paperlib.d4c import quantization_plots as plots
from paperlib.d4c.claimed import LEARNED, dynamic_claims, gain_claims, paper_bits_claims
from paperlib.d4c.comparison import compare, float_top1, quantization_plans
from paperlib.d4c.encoders import ENCODERS, chosen_encoders
from paperlib.d4c.methods import TITLES, data_free_baseline
from paperlib.d4c.published import calibration_sets, iterations_in_words
from paperlib.d4c.reported import reported
from paperlib.d4c.settings import Settings
from paperlib.d4c.tables import (
    by_method,
    gain_table,
    mean_and_spread,
    over_draws,
    range_table,
)
from paperlib.d4c.zero_shot import load_draws
from paperlib.names import DATASETS
from paperlib.notebook.words import beside_zero, compared, counted, ranked
from paperlib.paths import outputs_dir

# %% [markdown]
# ## Models and test images
#
# Small CLIPs of open_clip's own classes, at their zero-shot task: the class whose texts, over all
# templates, are most similar to the image. Every draw has test images, calibration images and
# prompts of its own; no two share a real image.

# %%
clips, own, label = chosen_encoders(run, **named)
tests = load_draws(dataset, "test", own.test_images, own.seeds, seed)
data = tests[0]
print(f"{data.source}: {len(data)} images a draw, {len(data.classes)} classes")

# %%
whole = float_top1(clips, tests, dataset)
whole.groupby("encoder", sort=False).mean().round(1).to_frame("Top-1 in floating point (%)")

# %% [markdown]
# ## Calibration images
#
# - **real images** of the training split: what a data-free method does without;
# - **Gaussian noise**;
# - **natural-spectrum noise**, our control: random, but with the slopes, directions, colours and
#   contrasts of photographs that no evaluation uses (see `paperlib.d4c.natural`). It knows neither
#   the model nor the data and costs milliseconds: what does not beat it has not shown that a CLIP
#   must be asked;
# - **dead leaves**, another control: discs that hide one another, with edges that noise does not
#   have. Of the controls it is the best on a seed that no evaluation uses (below);
# - the **data-free baseline**: BNS for ResNets, which fits the statistics of BatchNorm, PSE for
#   ViTs, which makes similarities between patches diverse;
# - **D4C**.
#
# The images of BNS, PSE and D4C are published sets: the paper's recipe made them once, for OpenMoji
# in 3,000 iterations (D4C on the ViT in 2,000), for CIFAR-10 in 1,000 and in sets of 16, and D4C
# with the temperature and the names that a pilot chose (on OpenMoji's ViT, from before it, with our
# generic names). They and how they came about stand in `data/d4c_sets`, and notebook 11 makes the
# beginning of one again.
# They are those of seed 0 whatever the seed of the run, which draws all else. A profile without
# published sets makes its images here and keeps them for notebooks 10 and 13.

# %%
baselines = {name: data_free_baseline(model) for name, (model, _) in clips.items()}
methods = {
    name: ["real", "gaussian", "spectrum", "leaves", baselines[name], "d4c"]
    for name in reversed(clips)  # notebook 10 goes the other way
}

# %%
count = max(Settings(**changes).images for changes in own.encoders.values())
real = load_draws(dataset, "train", count, own.seeds, seed)
kept = outputs_dir() / "calibration_images"
images = calibration_sets(dataset, clips, methods, own, seed, real, kept)

# %% [markdown]
# ## Quantization
#
# WnAm stands for n bits a weight and m bits an activation, of uniform quantizers,
#
# $$\hat x = s\,(c - z), \qquad c = \mathrm{clip}(\lfloor x/s \rceil + z,\ 0,\ 2^b - 1).$$
#
# Here $s$ is the width of a step, $z$ the code that stands for zero, and $\lfloor\cdot\rceil$
# rounds. A range that is too wide wastes codes on values that never come, one that is too narrow
# clips those that do. Rounding each weight to its nearest code is not best for the sum of many:
# learned rounding (AdaRound) chooses for each weight between the code below and the code above.
#
# Calibration images decide two things: the ranges of the activations, and the rounding of the
# weights, which is learned so that every bottleneck gives what it gave in floating point. The text
# tower is the same for all of them. What was found is kept as the images are, and so are the
# accuracies: notebook 13 measures some of the same.
#
# Learning takes far longer than everything else here. So all that is measured live keeps the
# nearest rounding; what learning adds was measured once, by a command, in all draws at the decisive
# bit-widths (below).
#
# Each plan is one quantization: an encoder, bit-widths, a draw. First come the weights and the text
# tower; every method's images then give that CLIP the ranges of its image tower, and the result
# classifies the test images of the draw. At the decisive bit-widths the same CLIP is also measured
# without any calibration images. Our controls, natural-spectrum noise and dead leaves, stand where
# images decide; at the paper's bit-widths white noise alone says what any images are worth.

# %%
plans = quantization_plans(own, seed)
given = clips, plans, images, tests, dataset, outputs_dir() / "quantized"
comparison = compare(*given, without_images=True)

# %% [markdown]
# ## Main table
#
# Zero-shot Top-1 (%), mean ± standard deviation over the draws, where there are several. First the
# bit-widths that decide, then the paper's. The decisive ones were chosen on a seed and images that
# are not measured here, by real images and noise alone: bit-widths at which noise falls ten points
# behind.

# %%
keys, measured = ["encoder", "bits"], comparison.top1
wide = by_method(measured, [*keys, "draw"])
floats = [whole[name, k] for name, _, k in wide.index]
mean_and_spread(wide.assign(float=floats), keys).rename(index=ENCODERS)

# %%
pairs = zip(measured.encoder, measured.draw, strict=True)
run.save_figure(plots.accuracy, measured.assign(float=[whole[pair] for pair in pairs]))

# %% [markdown]
# Left: a point a draw, a line for the mean. Right: mean and standard deviation, in the same
# colours. Dashed: in floating point. Where the methods part, calibration images decide; where they
# lie on top of one another, any images do.

# %%
for name, rows in measured[measured.decisive].groupby("encoder", sort=False):
    order = ranked(rows.groupby("method").top1.mean().rename(TITLES), unit=" %", digits=3)
    run.say(f"{ENCODERS[name]} at {own.decisive[name]}: {order}.")

# %% [markdown]
# ## Without any calibration images
#
# Who has no images would first try what needs none: weights alone in few bits, with activations in
# floating point, or *dynamic* activations, whose range every token (in a convolution every image)
# takes from its own extremes. The first makes a model smaller, not faster, and the second costs
# time in every forward pass, where a range that was found before costs none. At the decisive
# bit-widths, Top-1 (%) beside three sets of images:

# %%
alone, keys = comparison.alone, ["encoder", "draw"]
beside = measured[measured.decisive].pivot(index=keys, columns="method", values="top1")
with_images = beside[["spectrum", "d4c", "real"]]
mean_and_spread(alone.join(with_images), ["encoder"]).rename(index=ENCODERS)

# %%
words = {"more": "above", "less": "below", "same": "level with", "unit": " %", "digits": 3}
for name, row in alone.join(beside.d4c).groupby("encoder", sort=False).mean().iterrows():
    pair = compared(row["dynamic activations"], row.d4c, **words)
    run.say(f"{ENCODERS[name]}: dynamic activations reach {pair} with D4C's images.")

# %% [markdown]
# What weights alone reach is what is left to the activations to lose. Where dynamic activations
# come near real images, calibration images save time, not accuracy.
#
# ## Gains over the data-free baseline
#
# D4C minus BNS or PSE, draw by draw, in percentage points; beside it what the images can decide at
# all, real images minus noise.

# %%
known = controls.load_controls()
gains = gain_table(wide, baselines, controls.best_control(known))
by_bits = gains.drop(columns="draw").groupby(["encoder", "bits"], sort=False)
table = by_bits.agg(["mean", "std"]).rename(index=ENCODERS).round(1)
table.astype(object).fillna("")

# %% [markdown]
# The gains that the abstract reports at W4A8, of **other models and data** and with the full
# recipe:

# %%
paper = reported("gain_w4a8")
paper.pivot(index="encoder", columns="dataset", values="value")

# %%
reported_gains = paper.rename(columns={"value": "gain"})[["encoder", "dataset", "gain"]]
both = {"here": gains, "paper": reported_gains}
run.save_figure(plots.gains, pd.concat(both, names=["where"]).reset_index("where"))

# %% [markdown]
# Bars to the left of 0 are losses. The paper's, at the right, are those of full-size CLIPs at W4A8,
# so their signs can be compared with ours, their lengths cannot.

# %%
for (name, bits), mine in gains.groupby(["encoder", "bits"], sort=False):
    ends = over_draws(mine.gain)
    words = beside_zero(*ends) if ends else "of one draw"
    run.say(f"{ENCODERS[name]}, {bits}: D4C gains {mine.gain.mean():+.1f} points, {words}.")

# %% [markdown]
# ## With the learned rounding
#
# At the decisive bit-widths, with both towers learned module by module. A command measured it once
# for all draws of seed 0, long enough that nearly every rounding has decided (`python -m
# paperlib.d4c.learned`; the official code takes 20,000 iterations, of smaller steps). Another seed,
# other sizes or another CLIP are learned here, in their first draw and with the profile's own
# iterations.

# %%
learned_top1 = learned.load_learned(dataset, own, seed)
published = learned_top1 is not None
if not published:
    given = clips, own.encoders, own.decisive, images, tests, dataset, seed, [0]
    learned_top1 = learned.learned_rows(*given, outputs_dir() / "quantized")

# %%
draws, length = learned_top1.draw.nunique(), learned_top1.iterations.max()
left = learned_top1.undecided.max()
run.say(f"{length} iterations a module, {draws} draws; at most {left:.1f} % undecided at the end.")

# %% [markdown]
# Top-1 (%), mean ± standard deviation over these draws, beside the same with the nearest rounding.
# Then how many roundings of the image tower had not decided when learning stopped (%), and in how
# many of its modules they came out worse than the nearest, which such a module keeps:

# %%
nearest = measured[measured.decisive & measured.draw.isin(learned_top1.draw)]
both = pd.concat({"nearest": nearest, "learned": learned_top1}, names=["rounding"])
both = both.reset_index("rounding")
beside_nearest = by_method(both, ["encoder", "rounding", "draw"])
mean_and_spread(beside_nearest, ["encoder", "rounding"]).rename(index=ENCODERS)

# %%
worse = learned_top1.groupby(["encoder", "method"], sort=False)[["undecided", "worse"]].mean()
worse.rename(index=ENCODERS | TITLES).round(1)

# %% [markdown]
# One module of a published row is learned again: the image tower's first, with D4C's images of the
# first draw. What learning leaves of its error (% of the error with the nearest rounding) has to
# come within a fiftieth, and what is undecided (%) within a quarter: another CPU rounds otherwise,
# which learning carries on. Images of another method, half the iterations or twice the rate do not
# pass. That sets and weights are those that were measured is checked for every row.

# %%
if published:
    display(learned.again(learned_top1, clips, own, images, dataset).round(2))

# %%
for (name, rounding), part in both.groupby(["encoder", "rounding"], sort=False):
    order = ranked(part.groupby("method").top1.mean().rename(TITLES), unit=" %", digits=3)
    run.say(f"{ENCODERS[name]}, {rounding} rounding: {order}.")

# %% [markdown]
# Rounding is learned on the calibration images alone. Where the accuracy of a method falls when it
# is learned, though hardly a module came out worse on these images, they ask of the CLIP what test
# images do not: the learned rounding tells such images from others more sharply than the ranges do.

# %% [markdown]
# ## When do calibration images matter?
#
# Small CLIPs lose little. Large ones are deeper, and channels of one of their layers can differ in
# size by orders. So the map has a third CLIP, a ViT of ten blocks (the other has six), trained on
# photographs of Tiny ImageNet and on scenes of OpenMoji. It is asked for both: for OpenMoji's
# classes as the others are, and for the 200 classes of photographs, with 500 test images a draw. It
# differs in more than depth: in its training data, in its accuracy, and in its calibration images,
# of which there are 16 of every method; PSE and D4C had 1,000 iterations on a CPU, from the generic
# names and with the paper's τ. The photographs that natural-spectrum noise was fitted to are of
# Tiny ImageNet too: for the last rows of the table it has seen the target data.
#
# And each CLIP is also rewritten so that it computes the same with unequal channels: what one layer
# gives is multiplied by a factor $s$ a channel, what the next one takes is divided by it, with
# $\log s \sim N(0, \sigma^2)$ (`paperlib.d4c.rescaling`). Images that a CLIP was asked for do not
# change with it. A command measured once what follows, seed 0, with the nearest rounding (`python
# -m paperlib.d4c.difficulty`). W4A3 tests ranges, W2A8 weights, W4A8 is the paper's:

# %%
harder = difficulty.load_map()
keys = ["model", "bits", "spread"]
mean_and_spread(by_method(harder, [*keys, "draw"]), keys).rename(index=difficulty.TITLES)

# %%
gained = difficulty.advantages(harder)
run.save_figure(plots.difficulty, gained)

# %% [markdown]
# Grey is what any choice of images can decide; where it is near zero, nobody can win: at the left
# because nothing is lost, at the right because everything is, whatever the images. Red above zero:
# D4C beats the data-free baseline there; blue above zero: it also beats noise that knows nothing of
# the CLIP. Where the whole interval of real images over noise is above zero, with the 95 %
# intervals over draws:

# %%
decided = gained[gained.what == difficulty.GAINS["real minus noise"]]
at_stake = pd.MultiIndex.from_frame(decided[decided.low > 0][keys])
everywhere = gained.set_index([*keys, "what"]).sort_index()
ours = everywhere.xs(difficulty.GAINS["gain"], level="what").loc[at_stake].points

# %%
for (name, bits), points in ours.groupby(level=["model", "bits"], sort=False):
    there = everywhere.loc[points.idxmax()].iterrows()
    words = "; ".join(f"{w} {one.points:+.1f} [{one.low:.1f}, {one.high:.1f}]" for w, one in there)
    run.say(f"{name}, {bits}, where D4C does best (σ = {points.idxmax()[2]}): {words}.")

# %%
worse = decided[decided.high < 0]
for _, one in worse.iterrows():
    words = f"{one.model}, {one.bits}, σ = {one.spread}: real images over noise {one.points:+.1f}"
    run.say(f"{words} [{one.low:.1f}, {one.high:.1f}] points.")

# %% [markdown]
# A line of the last kind says that real images are worse for calibration than noise is. There are
# many cells, and of twenty such intervals one misses by chance, on one side or the other; several
# lines of one CLIP are more than that. The ranges that are found minimise an error of activations,
# which is not the accuracy.
#
# Some of it is measured again here: D4C and PSE on the deep ViT at W4A3, first draw, with unequal
# channels (σ = 1), and, where this notebook has the map's data set, seed and sizes, all that its
# main table shares with the map. More than two points apart would stop the notebook.

# %%
deep = difficulty.MAPPED["deep"]
few, clip = (1, ["W4A3"], [deep.baseline, "d4c"]), deep.load()
again = [difficulty.measure("deep", 1.0, clip, *few)]

# %%
if published and dataset == "openmoji":
    again.append(measured.rename(columns={"encoder": "model"}).assign(spread=0.0))
for rows in again:
    apart = difficulty.remade(harder, rows)
    print(f"{len(apart)} rows measured again: at most {apart.abs().max():.2f} points apart")

# %% [markdown]
# How long must synthesis go on? Of each method's first set, eight images are kept from earlier
# iterations too. Top-1 (%) where they calibrate, beside eight real images and eight of noise (0
# iterations), with channels as they were trained (σ = 0) and the nearest rounding: mean ± standard
# deviation over five draws, each with test images, real images and noise of its own; the
# synthesised ones are always the same eight.

# %%
course = difficulty.load_course()
keys, steps = ["model", "bits"], ["method", "iterations"]
cells = course.groupby([*keys, *steps]).top1.agg(lambda x: f"{x.mean():.1f} ± {x.std():.1f}")
cells = cells.unstack(steps).sort_index(axis=1).fillna("–")
cells.rename(index=ENCODERS, columns=TITLES, level=0)

# %%
when = course.pivot_table("top1", keys, steps)
when = when[when["real", 0] - when["gaussian", 0] >= 3]  # points: where images decide
for (name, bits), row in when.iterrows():
    later = ", ".join(f"{value:.1f} after {k}" for k, value in row["d4c"].dropna().items())
    run.say(f"{ENCODERS[name]}, {bits}, D4C: {later} iterations; real images {row['real', 0]:.1f}.")

# %% [markdown]
# Where images decide, 1,000 iterations give what the whole synthesis gives: what comes later is no
# more than the spread over draws. It is one set a method and eight images: a course, not a
# comparison of methods.

# %% [markdown]
# ## Spectrum or content?
#
# What must calibration images have? White noise has nothing of an image, natural-spectrum noise
# what photographs have in common before one looks at what they show, dead leaves edges that occlude
# one another, scrambled images the spectra and colours of the very real images, without their
# content (`paperlib.d4c.natural`). What they reach between white noise and real images says how
# much of the worth of real ones is spectrum; what real ones have above them is content. A command
# measured it once, in the draws of seed 0, on both data sets, with the nearest rounding (`python -m
# paperlib.d4c.controls`). Top-1 (%), mean ± standard deviation over draws:

# %%
keys, kinds = ["dataset", "encoder", "bits"], known[known.part == "methods"]
cells = mean_and_spread(by_method(kinds, [*keys, "draw"]), keys)
cells.rename(index=DATASETS | ENCODERS)

# %%
run.save_figure(plots.worth, kinds.drop(columns=["part", "seed"]))

# %% [markdown]
# A point a draw, a line for the mean, from images that know least to real ones. Where a row of
# points is level, any images do; where points of one kind lie far apart, it is chance whether such
# images calibrate well. What these images look like to a Fourier transform, with all others of this
# notebook (mean amplitude in rings of equal frequency, first draw):

# %%
more = {name: ["scrambled"] for name in clips}
shown = images | calibration_sets(dataset, clips, more, own, seed, real[:1])
shown = {key: x for key, x in shown.items() if key[1] == 0}
run.save_figure(plots.spectra, controls.spectra_table(shown))

# %% [markdown]
# Scrambled images have the real ones' curve, but for what is clipped to valid pixels. The share of
# the gap from white noise to real images that each kind closes, wherever the gap is three points or
# more, with 95 % intervals over draws (bootstrap of the ratio of means; of five draws it is rather
# too narrow), and what real images have above it, in points (Student's t):

# %%
shares = controls.share_table(known)
shares.replace(DATASETS | ENCODERS | TITLES).round(2)

# %%
for method, part in shares.groupby("method", sort=False):
    row = f"{TITLES[method]}: median share {part.share.median():.0%}, from {part.share.min():.0%}"
    row += f" to {part.share.max():.0%}; real images are clearly above them at"
    run.say(f"{row} {counted(part['left low'] > 0)} places, in the mean {part.left.mean():+.1f}.")

# %%
for (data_set, tower), part in shares.groupby(["dataset", "encoder"], sort=False):
    found = part.groupby("method").share.mean().rename(TITLES)
    order = ranked(100 * found, unit=" %", digits=2)
    run.say(f"{DATASETS[data_set]}, {ENCODERS[tower]}, mean share over bit-widths: {order}.")

# %% [markdown]
# **Which control must D4C beat?** The best of those that know neither model nor data. It was chosen
# on seed 1000 and on test images that no evaluation here takes, at W4A3, by the mean over encoders
# and data sets; that rule stood before the first measurement.

# %%
means, control = controls.control_means(known), controls.best_control(known)
order = ranked(means.rename(TITLES), unit=" %", digits=3)
run.say(f"Seed {controls.PARTS['choice'].seed}: {order}. The control is *{TITLES[control]}*.")

# %%
tried, keys = known[known.part == "choice"], ["dataset", "encoder", "draw"]
pairs = tried.pivot(index=keys, columns="method", values="top1")
first, second = means.nlargest(2).index
ahead = pairs[first] - pairs[second]
words = f"{TITLES[first]} over {TITLES[second]}: {ahead.mean():+.1f} points over {len(ahead)} draws"

# %%
low, high = over_draws(ahead)
run.say(f"{words}, {beside_zero(low, high)} [{low:.1f}, {high:.1f}].")

# %% [markdown]
# **Do our numbers of the noise decide?** The same images and draws with other parameters: the slope
# of every image one standard deviation lower (flatter) or higher (steeper) than that of the mean
# photograph, one contrast for all, all nine numbers at their mean, independent colour channels.
# Points of Top-1 beside the published parameters, mean over draws:

# %%
other = controls.otherwise_table(known)
cells = other.pivot(index="method", columns=["dataset", "encoder"], values="points")
cells.rename(columns=DATASETS | ENCODERS).round(1)

# %%
for method, part in other.groupby("method", sort=False):
    row = f"{method}: {part.points.mean():+.1f} points in the mean, {part.points.min():+.1f} to"
    clear = counted((part.low > 0) | (part.high < 0))
    run.say(f"{row} {part.points.max():+.1f}; told apart from zero at {clear} places.")

# %% [markdown]
# A control with other numbers could be a stronger one. Those of the published noise are what
# photographs have; none was fitted to an accuracy, and none is exchanged after the fact. All that
# was tried on that seed, over encoders and data sets:

# %%
every = pairs.mean().rename(TITLES)
run.say(f"{ranked(every, unit=' %', digits=3)}.")

# %% [markdown]
# **Do more images change it?** All of 16 to 128 images give the ranges here, at W4A3; the larger
# set of real images holds the smaller one. Top-1 (%), mean over draws:

# %%
few = known[known.part == "images"]
keys = ["dataset", "encoder", "images"]
cells = few.pivot_table("top1", keys, "method", sort=False).rename(columns=TITLES)
cells.rename(index=DATASETS | ENCODERS).round(1)

# %%
left = cells[TITLES["real"]] - cells[TITLES["spectrum"]]
for (data_set, tower), row in left.groupby(level=["dataset", "encoder"], sort=False):
    steps = ", ".join(f"{value:+.1f} ({count})" for (*_, count), value in row.items())
    run.say(f"{DATASETS[data_set]}, {ENCODERS[tower]}, real above spectrum (images): {steps}.")

# %% [markdown]
# Of what is measured live above, on OpenMoji with the command's seed and sizes, the rows of both
# must agree; two points apart would stop the notebook.

# %%
if published and dataset == "openmoji":
    plain = kinds[kinds.dataset == dataset].assign(spread=0.0)
    plain, again = (x.rename(columns={"encoder": "model"}) for x in (plain, measured))
    apart = difficulty.remade(plain, again.assign(spread=0.0))
    print(f"{len(apart)} rows measured again: at most {apart.abs().max():.2f} points apart")

# %% [markdown]
# ## Values that no image has
#
# Nothing keeps the pixels of synthesised images between black and white. What lies beyond may raise
# activations, which would widen the ranges, and at few bits wide ranges leave real images few
# codes. The share of such values; the steps of the activation quantizers at the decisive bit-widths
# as multiples of those with real images (geometric mean over the image tower); and the accuracy
# there.

# %%
keys = ["encoder", "method"]
widths = range_table(images, comparison.steps, own.decisive)
widths = widths.merge(measured[measured.decisive][[*keys, "draw", "top1"]]).drop(columns="draw")
widths = widths.groupby(keys, sort=False).mean()
widths.rename(index=TITLES | ENCODERS).round(2)

# %%
for name, wider in widths["steps, × those of real images"].groupby("encoder", sort=False):
    order = ranked(wider.droplevel("encoder").rename(TITLES), digits=3)
    run.say(f"{ENCODERS[name]}, steps as multiples of those with real images: {order}.")

# %% [markdown]
# ## Claims
#
# One row an encoder, with the 95 % interval over draws (Student's t): each has calibration images,
# prompts and test images of its own. Beside a claim stands what is at stake: what real images gain
# over the same opponent. Where that is under a point (three for noise), nobody can win.

# %%
made, notes = {}, {}
for name, changes in own.encoders.items():
    chosen, pair = Settings(**{**changes, **own.rounding}), (baselines[name], "d4c")
    made[name] = iterations_in_words(dataset, name, pair, chosen, own.published)
    notes[name] = f"{made[name]}; {chosen.reconstruction_iterations} of reconstruction"

# %%
for claim, name, values, about in gain_claims(gains, own.decisive, own.test_images):
    run.check(claim, values, source=data, note=notes[name], model=label, **about)

# %%
learned_gains = gain_table(by_method(learned_top1, ["encoder", "bits", "draw"]), baselines)
given = learned_gains, own.decisive, own.test_images, LEARNED
for claim, name, values, about in gain_claims(*given) if draws == own.seeds else ():
    note = f"{made[name]}; {length} of reconstruction"
    run.check(claim, values, source=data, note=note, model=label, **about)

# %%
above = beside[["d4c", "real"]].sub(alone["dynamic activations"], axis=0)
for claim, name, values, about in dynamic_claims(above, own.test_images):
    run.check(claim, values, source=data, note=notes[name], model=label, **about)

# %%
for claim, name, values, about in paper_bits_claims(gains, own.test_images):
    run.check(claim, values, source=data, note=notes[name], model=label, **about)

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **Is a CLIP more accurate with D4C's images?** The claims say it, encoder by encoder. Someone can
# win only where calibration images decide and the baseline leaves something to win: where it is as
# good as real images, nobody can. BNS keeps the statistics of the activations and so their steps; a
# method whose steps are wider than those of real images can pay for that at few bits. Where noise
# has steps near those of real images and the lowest accuracy, steps are not all of it. And where a
# CLIP loses next to nothing at W4A8, the paper's setting, the claim has no stake: the gain that the
# abstract reports needs a CLIP that loses something, such as those of full size.
#
# **And the control?** Noise with the spectrum of photographs costs milliseconds and knows neither
# the CLIP nor the words. How much of the gap it closes is what images need not be asked for. What
# scrambled real images have above it is the data's own spectrum and colours; what real ones have
# above those is content. It varies from draw to draw, so that few draws may leave open whether D4C
# beats it. The best control by the rule is dead leaves; its claims stand beside.
#
# **And without any images?** Ranges that every token takes from its own extremes need nobody's
# images; the section on them says how far they come. What is said here of calibration images holds
# for ranges that are found once, before use.
#
# **And learned rounding?** Its section has both roundings side by side, and how much had decided. A
# published table has 300 iterations of large steps; what 20,000 small ones would add is not known.
#
# **The question answered.** Where bits are many, real images, the baseline and D4C come out alike;
# whether noise does too hangs on the encoder. Where they are few they decide, and real images are
# the measure. What the CLIP is asked for, as in D4C, has to beat noise that looks like photographs
# and costs milliseconds; the table has all of them, and the lines above say whether it does.
#
# **Deviations and limits.** The CLIPs are small. Where they lose next to nothing at four bits and
# more with real images, the baseline's or D4C's, the paper's setting cannot show its effect, and
# the decisive bit-widths are ours. The published sets have the paper's recipe, but D4C on the ViT
# stopped after two thirds of its iterations, and half as many images as in the paper give the
# ranges (on CIFAR-10 16); figures and most claims have the nearest rounding, where the paper learns
# it, and W6A6 and W8A8 one draw. The paper profile, on CIFAR-10, has an eighth of the paper's
# images and a third of their iterations. Prompts and τ for D4C are those that the pilot of notebook
# 11 chose, on a seed that is not measured here; those of OpenMoji's ViT, the paper's τ and our
# generic names, are from before that pilot. The deep ViT had no pilot, a third of the iterations,
# and its 200 classes of photographs are among those that it was trained on. The draws differ in
# test and calibration images, not in the training of the CLIPs.
