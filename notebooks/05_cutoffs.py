# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · Accuracy under a cut-off, under JPEG, and under noise and attacks of one band
#
# **Question.** How much accuracy is left when high, or low, frequencies are cut off or disturbed,
# for natural and for robust models?
#
# **In the paper.** Wang et al., [arXiv 2005.03141](https://arxiv.org/abs/2005.03141), claims 3 and
# 4; the sweep and the test with JPEG are ours. The last three parts measure what others have
# measured: Yin et al., [arXiv 1906.08988](https://arxiv.org/abs/1906.08988), and what follows them.
#
# A *natural* model is trained on the images as they are; a *robust* one on adversarial images,
# which are changed a little, in every step anew, so that the model errs. If the robust one rests on
# low frequencies (claim 4), it should hardly notice that the high ones are gone.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji-10, drawn here | under 1 GB | none | CPU or GPU |
# | paper | CIFAR-10 test split | under 2 GB | CIFAR-10, if no copy is given | CPU or GPU |
#
# *Measured when published: default 2 minutes of one core, 755 MB; paper 12 minutes, 1335 MB.*
#
# Tested on one core of a CPU; a GPU is used where CUDA finds one (untested).

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, cifar10

# %%
from paperlib.freq import sizes
from paperlib.notebook.start import start

run = start("05_cutoffs", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
from functools import partial

import numpy as np
import pandas as pd

from paperlib.freq import band_attack, bands, corruptions, cutoffs, fourier, plots
from paperlib.freq.tables import bootstrap, fooled_table, wave_table
from paperlib.freq.variants import (
    ADVERSARIAL,
    ARCHITECTURES,
    VARIANTS,
    load_images,
    load_variant,
    untrained,
)
from paperlib.models.training import predict
from paperlib.notebook.figures import as_pixels
from paperlib.notebook.words import compared, number, ranked
from paperlib.runtime import device
from paperlib.seeds import overlap

# %% [markdown]
# ## Models and images

# %%
robust = ADVERSARIAL[dataset]
keys = [(arch, variant) for arch in ARCHITECTURES for variant in ("natural", robust)]
models = {key: load_variant(dataset, *key).to(device()) for key in keys}

# %%
test = load_images(dataset, "test")
draws = test.draws(run.sizes.images, run.sizes.seeds, seed)
shared = overlap(len(test), run.sizes.images, run.sizes.seeds)
scale = f"{run.sizes.seeds} draws of {run.sizes.images} images that share {shared:.0%} of them"
print(f"{test.source}: {scale}")

# %% [markdown]
# ## What a cut-off does
#
# Low-pass keeps max(u, v) < c, high-pass max(u, v) ≥ c on mid-grey; both are clipped to [0, 1].

# %%
x, shown = draws[0].floats()[:1], [2, 4, 8, 16, 32]
cuts = {"low-pass": shown, "high-pass": [0, *shown[:-1]]}
images = {kind: np.concatenate([cutoffs.PASSED[kind](x, c) for c in cuts[kind]]) for kind in cuts}
table = pd.DataFrame(cuts).melt(var_name="filter", value_name="cutoff")
run.save_figure(plots.cutoff_images, table, {kind: as_pixels(x) for kind, x in images.items()})

# %% [markdown]
# In the upper row more is let through from left to right, until the last picture is the image
# itself. In the lower row the first picture lacks nothing, and coarse waves are taken away first:
# colours go, outlines stay.
#
# ## The sweep

# %%
cuts = cutoffs.grid(run.sizes.step)  # the last cuts nothing
sweep = cutoffs.cutoff_table(models, draws, cuts)
run.save_figure(plots.cutoffs, sweep)

# %% [markdown]
# The left panel loses fine waves towards the left, the right panel coarse ones towards the right;
# where nothing is cut off, every line has its accuracy on clean images. These starts differ, so
# heights at one cut-off do not tell who lost more. What tells is the share of a network's own
# accuracy that is left.
#
# The claim: at the cut-off where the natural model has lost half of its accuracy above chance, the
# robust one keeps a larger share of its own. It must hold for both architectures. Cut-offs are
# twice as far apart beyond 16, where the curves are flatter.

# %%
lows = dict(list(sweep[sweep["filter"] == "low-pass"].groupby("architecture")))
kept = {arch: cutoffs.kept_at_half(lows[arch], "natural", robust) for arch in ARCHITECTURES}
shown = {arch: [np.mean(gain), sorted(set(cuts))] for arch, (gain, cuts) in kept.items()}
pd.DataFrame(shown, ["robust minus natural, share kept", "cut-off c"]).rename(columns=ARCHITECTURES)

# %% [markdown]
# ## JPEG
#
# JPEG rounds the DCT coefficients of 8 × 8 blocks, high frequencies most coarsely: a low-pass
# filter that nobody trained against.

# %%
qualities = [95, 75, 50, 25, 10]
jpeg = cutoffs.jpeg_table(models, draws, qualities)
table = jpeg.pivot_table(index=["architecture", "variant"], columns="quality", values="accuracy")
(100 * table[["none", *qualities]]).round(1)

# %%
run.save_figure(plots.jpeg, jpeg)

# %% [markdown]
# Images are compressed more coarsely from left to right. A network that needs fine waves falls
# early, one that rests on coarse ones late. The networks begin at different accuracies, and none
# can fall below chance: one that only guesses would lose nothing. So the claim compares the share
# that each has lost, at quality 75, of its own accuracy *above chance*.

# %%
cell = jpeg.set_index(["quality", "variant", "architecture", "seed"]).accuracy
lost = cutoffs.lost_share(cell["none"], cell[75])  # by variant, architecture, seed
means = 100 * lost.groupby(["architecture", "variant"]).mean()

# %%
for arch, title in ARCHITECTURES.items():
    words = compared(means[arch, robust], means[arch, "natural"], same="as", unit=" %")
    run.say(f"{title}, lost of its accuracy above chance: robust {words} by the natural one.")

# %% [markdown]
# ## Noise of one frequency
#
# A Fourier heat map (Yin et al.): a wave of one frequency is added to every channel, and the error
# rate is drawn at the place of the frequency.
#
# $$x' = x + r\,v\,U_{ij}, \qquad \lVert U_{ij} \rVert_2 = 1,\ v = 4,\ r = \pm 1$$
#
# From here on ResNet-20 stands for both architectures. Both networks get the same waves.

# %%
pair = {variant: models["resnet20", variant] for variant in ("natural", robust)}
few = draws[0].subset(np.arange(run.sizes.few))
x, y = few.floats().to(device()), few.labels.to(device())

# %%
waves = {
    variant: fourier.errors(model, x, y, run.sizes.wave_step, seed=seed).numpy()
    for variant, model in pair.items()
}  # each (images, frequencies down, frequencies across)
clean = {variant: (predict(model, x) != y).cpu().numpy() for variant, model in pair.items()}

# %%
periods = fourier.frequencies(32, run.sizes.wave_step)
run.save_figure(plots.fourier_maps, wave_table(waves, clean, periods))

# %% [markdown]
# The middle of a map stands for waves of few periods, its corners for the finest ones. On
# photographs Yin et al. see a natural network fail outside of the middle. That depends on the data:
# the drawn images differ by class in colours and coarse shapes, and their backgrounds hold noise of
# all frequencies already, so that waves of few periods are the ones to mislead here.
#
# High are waves with at least a quarter of a period a pixel. As with JPEG, what counts is the share
# of the accuracy above chance that they cost a network. The interval is that of the difference when
# images are resampled.

# %%
high = fourier.high(32, 32, run.sizes.wave_step).numpy()
before = {v: 1.0 - clean[v] for v in pair}  # how often each image is right
under = {v: 1.0 - waves[v][:, high].mean(1) for v in pair}
under_low = {v: 1.0 - waves[v][:, ~high].mean(1) for v in pair}

# %%
for variant in pair:
    two = (kind[variant].mean() for kind in (under, under_low))
    costs = [100 * cutoffs.lost_share(before[variant].mean(), left) for left in two]
    words = f"{compared(*costs, same='as', unit=' %')} to low ones"
    run.say(f"{VARIANTS[variant]}, lost of its accuracy above chance to high waves: {words}.")

# %%
every = np.arange(len(few))
more_lost = partial(cutoffs.more_lost, *((before[v], under[v]) for v in ("natural", robust)))
ends = bootstrap(every, more_lost, run.sizes.bootstrap, seed)

# %% [markdown]
# ## Controls
#
# Would other networks pass in place of the robust one? A network trained on low-passed images is
# the positive control: it should lose less than the natural one under each of the three; one
# trained on high-passed images should not. An untrained one has nothing to lose, so that no share
# is defined: by points lost, it would pass for robust.

# %%
others = {v: load_variant(dataset, "resnet20", v) for v in ("low_pass", "high_pass")}
nets = pair | {v: net.to(device()) for v, net in others.items()}
nets = {VARIANTS[v]: net for v, net in nets.items()}
nets["untrained"] = untrained("resnet20", seed).to(device())

# %%
cut = kept["resnet20"][1][0]  # where the natural one has lost half, in the first draw
beside = cutoffs.control_table(nets, draws[0], 75, cut)
coarse = fourier.high(32, 32, 8).numpy()  # few waves

# %%
for name, net in nets.items():
    left = 1 - fourier.errors(net, x, y, 8, seed=seed).numpy()[:, coarse].mean()
    at_first = (predict(net, x) == y).float().mean().item()
    beside.loc[name, "high waves"] = cutoffs.lost_share(at_first, left)

# %%
beside.round(2)

# %%
orders = [ranked(100 * beside[name].dropna(), unit=" %") for name in beside.columns[1:]]
for measure, order in zip(beside.columns[1:], orders, strict=True):
    run.say(f"Lost of the accuracy above chance, {measure}: {order}.")
guesses = beside.index[beside["high waves"].isna()]
run.say(f"Nothing to lose: {', '.join(guesses) or 'none of them'}.")

# %% [markdown]
# Where the low-pass network loses no less than the natural one, or the high-pass one loses less,
# the measure tells of something else than the frequencies a network needs, and where the high-pass
# one loses less than the natural one, the claim's difference could have come about without any
# low-frequency training. So what the controls lose stands beside each of the three claims.

# %%
of_jpeg, of_cut, of_waves = (f"ResNet-20 and controls lose: {order}" for order in orders)
weaker = np.min([gain for gain, _ in kept.values()], axis=0)
both = [f"{ARCHITECTURES[arch]} {np.mean(gain):+.2f}" for arch, (gain, _) in kept.items()]
given = {"source": test, "note": "; ".join([*both, of_cut])}
run.check("freq-lowpass", weaker.tolist(), scale=scale, **given)

# %%
difference = (lost["natural"] - lost[robust]).unstack("seed")
gains = difference.mean(axis=1).items()
both = [f"{ARCHITECTURES[arch]} {value:+.2f}" for arch, value in gains]
given = {"source": test, "note": "; ".join([*both, of_jpeg])}
run.check("freq-jpeg", difference.min().tolist(), scale=scale, **given)

# %%
some = f"{len(few)} images, {len(periods) ** 2 // 2 + 1} waves"
options = {"scale": some, "source": test, "over": "images", "note": of_waves}
run.check("freq-fourier", more_lost(every), interval=tuple(map(float, ends)), **options)

# %% [markdown]
# ## Corruptions
#
# Nine corruptions of CIFAR-10-C, those that are a formula, at severity 3 of 5, with the share of
# their change in high frequencies. Noise is high, a change of contrast or brightness low.

# %%
severity = 3
shares = corruptions.high_shares(draws[0], severity, seed)
right = {v: corruptions.outcomes(model, draws[0], severity, seed) for v, model in pair.items()}
losses = {variant: corruptions.lost(found) for variant, found in right.items()}
table = corruptions.loss_table(shares, losses)

# %%
run.save_figure(plots.corruptions, table)

# %%
for variant, rows in table.groupby("variant", sort=False):
    lost = 100 * rows.set_index("corruption").lost
    ends = ranked(lost.nlargest(3), unit=" %"), ranked(lost.nsmallest(3), unit=" %")
    run.say(f"{VARIANTS[variant]} loses most to {ends[0]}, least to {ends[1]}.")

# %% [markdown]
# Were it the height of the frequencies that hurts, what costs most would stand at the right. Blur
# and JPEG take high frequencies away and noise adds some: if the natural network stands the one and
# not the other, what counts is whether a change takes away what the network uses.

# %%
value, *ends = corruptions.ahead(shares, *right.values(), run.sizes.bootstrap, seed)
chance = corruptions.ahead_by_chance(shares, *right.values(), 1000, seed)
ends_of = " to ".join(number(end) for end in np.percentile(chance, [2.5, 97.5]))
run.say(f"Frequencies dealt anew among the corruptions (95 % of the deals): {ends_of}.")

# %%
part = draws[0].subset(np.arange(len(draws[0]) // 3))
stands = corruptions.outcomes(nets[VARIANTS["low_pass"]], part, severity, seed)
few_of = right["natural"][: len(part)]
control, *_ = corruptions.ahead(shares, few_of, stands, 1, seed)
run.say(f"With the low-pass network in place of the robust one: {number(control)}.")

# %% [markdown]
# The unit is the corruption, and nine are few: dealt anew, their frequencies correlate by chance as
# the first line says, and the interval is over corruptions, images inside. What is within chance
# says nothing for the claim, and little against it. The low-pass network is the positive control:
# if it is within chance too, these corruptions cannot tell what a network's frequencies are.

# %%
options = {"scale": f"{len(draws[0])} images, nine corruptions", "source": test}
options |= {"over": "corruptions, images inside", "interval": tuple(ends)}
run.check("freq-corruptions", value, **options)

# %% [markdown]
# ## Attacks within a band
#
# PGD whose perturbation has only the components of a band, all with the same L2 norm of 1; beside
# it, as the null control, noise in the same band with the same norm. Where an attack works best a
# network is weakest, whatever it rests on for its clean accuracy.

# %%
low, middle = bands.low_mask(32, 8), bands.low_mask(32, 16)
masks = {"below 8": low, "8 to 16": middle & ~low, "from 16": ~middle, "all": low | True}
hit = {v: band_attack.fooled(model, x, y, masks, 1.0, 10, seed) for v, model in pair.items()}
table = fooled_table(hit)
run.save_figure(plots.band_attacks, table)

# %%
for variant, rows in table[table.band != "all"].groupby("variant", sort=False):
    of = {how: 100 * part.set_index("band").fooled for how, part in rows.groupby("how")}
    bands_of = ranked(of["attack"], unit=" %")
    run.say(f"{VARIANTS[variant]}: PGD fools {bands_of}; noise at most {of['noise'].max():.0f} %.")

# %% [markdown]
# Noise is what a change of that norm does by chance. The band in which PGD fools a network most is
# the one that its training has left to an attack; if it is another one for the robust network,
# training has helped least in that band.

# %%
two = {name: masks[name] for name in ("below 8", "from 16")}
net = nets[VARIANTS["low_pass"]]
by_net = hit | {"low_pass": band_attack.fooled(net, x, y, two, 1.0, 10, seed)}

# %%
by_band = {v: [found["attack", name].double() for name in two] for v, found in by_net.items()}
differences = {VARIANTS[v]: 100 * (lower - upper) for v, (lower, upper) in by_band.items()}

# %%
means = {name: each.mean().item() for name, each in differences.items()}
run.say(f"PGD below 8 minus from 16, points: {ranked(means)}.")

# %% [markdown]
# The natural network is the null, the low-pass one the positive control: the claim's number is of
# robust networks only if the natural one's is lower. It compares the lowest band with the highest;
# the band between them may be a better place for an attack, as the figure says.

# %%
difference = differences[VARIANTS[robust]].double().numpy()
ends = bootstrap(difference, resamples=run.sizes.bootstrap, seed=seed)
options = {"scale": f"{len(difference)} images", "source": test, "over": "images"}
options["note"] = f"with the controls: {ranked(means)}"
run.check("freq-band-attack", float(difference.mean()), interval=tuple(map(float, ends)), **options)

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **The question answered.** Cutting high frequencies off shows what a network needed of them; JPEG
# and single waves do so only where both controls come out as they should, which the lines above
# say: one that keeps its accuracy did without. The curves show it cut-off by cut-off; the lines
# above say whether robust networks keep more, here, and where each kind is weak.
#
# **Deviations and limits.** Clipping after a filter brings back a little of what was cut. One model
# a variant. Images that have been through JPEG before, as some copies of CIFAR-10 have, change
# little when they are compressed again, whatever the network: the test with JPEG needs
# lossless ones.
#
# The last three parts are of one pair of networks, so they say nothing of pairs that are trained
# again. The waves' norm is that of Yin et al., which is large: where both networks nearly guess,
# their difference says little. PGD with ten steps bounds robustness from above.
