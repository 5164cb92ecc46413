# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Occluded Frequency: what natural and robust models rest on
#
# **Question.** Which frequencies carry a model's prediction, and how does adversarial training
# change that?
#
# **In the paper.** Wang et al., [arXiv 2005.03141](https://arxiv.org/abs/2005.03141), claims 1, 3
# and 4: Occluded Frequency (OF) maps of ResNet and VGG models, trained naturally and
# adversarially, on CIFAR-10.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji-10; 20 images of CIFAR-10 | under 1 GB | none | CPU or GPU |
# | paper | CIFAR-10 test split | under 2 GB | CIFAR-10, if no copy is given | CPU or GPU |
#
# *Measured when published: default 2 minutes of one core, 917 MB; paper 17 minutes, 1126 MB.*
#
# Tested on one core of a CPU; a GPU is used where CUDA finds one (untested).

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, cifar10

# %%
from paperlib.freq import sizes
from paperlib.notebook.start import start

run = start("03_occlusion", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import itertools

import numpy as np
import pandas as pd
import torch
from IPython.display import display

from paperlib.data.foolbox_images import foolbox_cifar10
from paperlib.freq import bands, occlusion, plots, zoo_evidence
from paperlib.freq.cutoffs import jpeg
from paperlib.freq.explorer import explorer
from paperlib.freq.sampled import beside_exact, mean_map, sampled_frequency, sampled_networks
from paperlib.freq.tables import (
    band_table,
    curve_table,
    map_table,
    share_details,
    share_table,
    smallest_mean,
)
from paperlib.freq.variants import (
    ADVERSARIAL,
    ARCHITECTURES,
    LOW_CUTOFF,
    VARIANTS,
    load_images,
    load_variant,
    untrained,
)
from paperlib.intervals import student
from paperlib.models.checkpoints import load_checkpoint
from paperlib.models.training import predict
from paperlib.names import DATASETS
from paperlib.notebook.figures import as_pixels
from paperlib.notebook.words import beside_zero, compared, counted, number
from paperlib.runtime import device

# %% [markdown]
# ## The measure, on one image
#
# Remove the component (u, v) from every channel and see how the logit of the true class changes:
#
# $$\delta_{uv} = s_y(x) - s_y\bigl(x - X_{uv}\, c_u c_v^\top\bigr), \qquad
# \mathrm{OF}_{uv} = \frac{|\delta_{uv}|}{\sum |\delta|}.$$
#
# Here $X$ are the coefficients of the discrete cosine transform (DCT), $c_u c_v^\top$ is the cosine
# wave that belongs to (u, v), and $s_y$ is the *logit* of the true class, the network's score
# before softmax. (0, 0) is the constant component, an image's mean colour. The sum runs over all
# components, so that the shares of one image add up to one. The absolute value forgets the sign: a
# component that speaks against the true class counts as much as one that speaks for it.

# %%
robust = ADVERSARIAL[dataset]  # the variant that stands for adversarial training
test = load_images(dataset, "test")
data = test.sample(run.sizes.images * run.sizes.seeds, seed)  # parts are draws that share none
print(f"{test.source}: {run.sizes.seeds} draws of {run.sizes.images} images that share none")

# %%
images, labels = data.floats().to(device()), data.labels.to(device())
model = load_variant(dataset, "resnet20", "natural").to(device())

# %%
changes = occlusion.component_changes(model, images[:1], labels[:1])[0]  # (32, 32)
largest = changes.abs().flatten().topk(3).indices.tolist()
kept = [~occlusion.single_masks(32, 32)[component].to(device()) for component in largest]
without = torch.stack([images[0], *(bands.filter_components(images[0], keep) for keep in kept)])

# %%
table = map_table({data.classes[int(labels[0])]: changes}, ["class"])
table.loc[largest, "picture"] = [1, 2, 3]  # of which component each picture lacks
run.save_figure(plots.one_component, table, {"images": as_pixels(without.cpu())})

# %% [markdown]
# In the map red components are those without which the logit falls, so they speak for the class;
# blue ones speak against it, and white ones do not matter. The pictures beside it lack the three
# that matter most. It is one image and one network: an illustration of the measure, no result.
#
# In JupyterLab, choose a network, an image and a band of max(u, v), and see the image without it
# and what that does to the logit. (On a page, and in batch, this cell shows nothing.)

# %%
if run.interactive:
    pair = {
        name: load_variant(dataset, "resnet20", name).to(device()) for name in ("natural", robust)
    }
    display(explorer(pair, images, labels, data.classes))

# %% [markdown]
# Whoever plays with it looks for the narrowest band without which the network takes the image for
# another class, and whether the same band fools the other network.
#
# The batched map is the same as the plain loop: transform, set one coefficient to zero, transform
# back, predict; one component after the other.

# %% tags=["nbval-check-output"]
masks = occlusion.single_masks(32, 32).to(device())
loop = occlusion.changes_loop(model, images[0], int(labels[0]), masks).view(32, 32)
print("largest difference below 1e-4:", bool((loop - changes).abs().max() < 1e-4))

# %% [markdown]
# ## A seventh of the forward passes
#
# A map needs a forward pass for each of 1,024 components. From here on all of the 64 low ones are
# removed and a random 8 % of the others, stratified by radius, another sample for each image; what
# is drawn stands for its ring, scaled so that the sample's first-order changes
# $X \cdot \partial s / \partial X$, which one backward pass gives for all components, add up to
# their known sum. On the same images, beside the exact maps:

# %%
panels = [(arch, variant) for arch in ARCHITECTURES for variant in ("natural", robust)]
few, beside = run.sizes.exact, {}
for key in panels:
    net = load_variant(dataset, *key).to(device())
    beside[key] = beside_exact(net, images[:few], labels[:few], seed=seed)

# %%
beside = pd.DataFrame(beside).T
beside.round(4)

# %%
worst, same = number(beside.bias.abs().max()), beside["first order"].rank() == beside.exact.rank()
order = "in the same order as" if same.all() else "in another order than"
run.say(f"The sampled share is off by {worst} at most.")
run.say(f"The first-order share puts the networks {order} the exact one.")

# %% [markdown]
# The share is a ratio and so a little biased. What the draw adds to the spread over images is the
# deviation over draws beside that over images. Passes and seconds are shares of those of the exact
# maps. With as many forward passes as the exact maps take, the mean over images has the standard
# error in the last column, as a share of the exact one's. The first-order share costs two passes an
# image; it is another number.
#
# ## Natural against adversarially trained models
#
# The mean OF map of every model. Colours are logarithmic and the same in all maps.

# %%
variants = {arch: ["natural", robust] for arch in ARCHITECTURES}
variants["resnet20"] = ["natural", "low_pass", "high_pass", robust]
networks = [(arch, variant) for arch, names in variants.items() for variant in names]
occluded, right = sampled_networks(dataset, networks, images, labels, seed)  # (n, 32, 32), (n,)

# %%
keys = ["architecture", "variant"]
means = {key: mean_map(occluded[key], seed=seed) for key in panels}
run.save_figure(plots.of_maps, map_table(means, keys))

# %% [markdown]
# The coarsest wave is at the top left of each map, the finest at the bottom right. What to look for
# is how fast the colours darken from the one to the other: the faster, the more a network rests on
# low frequencies. As the scale is logarithmic, a step of colour is a factor, not a difference.

# %%
rings = {key: bands.radial_mean(occluded[key], run.sizes.bands) for key in panels}
run.save_figure(plots.of_curves, curve_table(rings, 32, run.sizes.bootstrap, seed, keys))

# %% [markdown]
# The same maps as curves: the mean share of a *single* component at each distance from the constant
# one. A ring far out has many more components than one near the start, so a curve that is low at
# the right may still hold much of the whole. That is why the next part adds components up.
#
# ## One number a model: the low-frequency share
#
# The share of OF in the 8 × 8 lowest of the 32 × 32 components. The bars show the mean, the lines
# the bootstrap band (95 %, over images). Beside it: the constant component alone; the share of the
# others in low frequencies without it; and images that the network gets wrong, whose true class's
# score means something else.

# %%
share = {key: occlusion.low_share(maps, LOW_CUTOFF) for key, maps in occluded.items()}  # each (n,)
bare = {key: occlusion.without_constant(maps) for key, maps in occluded.items()}
without = {key: occlusion.low_share(maps, LOW_CUTOFF) for key, maps in bare.items()}
table = share_table(share, keys, run.sizes.bootstrap, seed)

# %%
more = share_details(occluded, share, without, right)
details = table.assign(**more).set_index(keys)
details.round(3)

# %%
run.save_figure(plots.low_shares, table)

# %%
for arch, title in ARCHITECTURES.items():
    pair = details.loc[arch, robust], details.loc[arch, "natural"]
    for column in ("low share", "constant"):
        words = compared(*(row[column] for row in pair), same="as")
        run.say(f"{title}, {column} after adversarial training: {words} after natural training.")

# %% [markdown]
# If the constant component alone differs as much as the low share does, the difference is that of
# mean colours, and says little of waves; the column without the constant tells. Images that a
# network gets wrong count too, since their share is of the same kind where the last column is close
# to the low share.
#
# ## Does the choice of score matter?
#
# The same by bands of max(u, v), removed as a whole, once on the logit and once on the probability
# after softmax.
#
# A logit can grow without end; a probability ends at one and depends on the scores of the other
# classes too. The reading does not hang on this choice where both scores put natural and
# adversarial training of an architecture in the same order in the lowest band. The bands are no
# equals: the first has 16 components, the last 240.

# %%
masks, by_score = bands.band_masks(32, 8, "square").to(device()), {}
for arch, variant in panels:
    net = load_variant(dataset, arch, variant).to(device())
    for score, of in occlusion.band_changes_by_score(net, images, labels, masks).items():
        by_score[ARCHITECTURES[arch], VARIANTS[variant], score] = occlusion.normalise(of).mean(0)

# %%
band_table(by_score, 32).round(3)

# %% [markdown]
# ## Claims
#
# Claim 1 says that the training data decide which frequencies a network uses. The test is a pair of
# networks of one recipe: trained on low-passed images, and on high-passed ones. The first must have
# the larger low share: the check asks for no more than that. How much networks differ whose
# training images have all frequencies, which would pass it too, stands beside it below.

# %%
by_seed = {key: low.view(run.sizes.seeds, -1).mean(1).numpy() for key, low in share.items()}
scale = f"{run.sizes.seeds} draws of {run.sizes.images} images, one model a variant"
trained = by_seed["resnet20", "low_pass"] - by_seed["resnet20", "high_pass"]
null = zoo_evidence.beside_null("pgd")
largest = null.loc[DATASETS[dataset], "null, largest"]  # by architecture

# %%
note = f"two networks trained on all frequencies: {number(largest['ResNet-20'])} at most"
run.check("freq-1-training-data", trained.tolist(), scale=scale, source=data, note=note)

# %%
words = compared(trained.mean(), largest["ResNet-20"], same="as")
run.say(f"The claim's difference in ResNet-20: {words} two networks trained on all frequencies.")

# %% [markdown]
# Claim 3 says that natural training leans on high frequencies. Nearly all components are high, so a
# large share of OF in them says nothing by itself: a network that was never trained has one too. So
# the share of the trained network must be above that of untrained ones, each from another random
# start, on some images of another draw.

# %%
some, by_draw = 3 * run.sizes.exact, {}  # images of a draw, and what untrained networks have
high = {v: np.stack([1 - by_seed[arch, v] for arch in ARCHITECTURES]) for v in ("natural", robust)}
high = {VARIANTS[v]: shares for v, shares in high.items()}  # each (architectures, draws)

# %%
for arch, draw in itertools.product(ARCHITECTURES, range(run.sizes.seeds)):
    chosen = slice(draw * run.sizes.images, draw * run.sizes.images + some)
    net = untrained(arch, seed, draw).to(device())
    maps = sampled_frequency(net, images[chosen], labels[chosen], seed=seed)
    by_draw[arch, draw] = 1 - occlusion.low_share(maps, LOW_CUTOFF).mean().item()

# %%
high["untrained"] = np.array(list(by_draw.values())).reshape(high["natural"].shape)

# %%
of_filtered = {VARIANTS[v]: 1 - by_seed["resnet20", v].mean() for v in ("low_pass", "high_pass")}
rows = {name: pd.Series(values.mean(1), ARCHITECTURES.values()) for name, values in high.items()}
rows |= {name: pd.Series({"ResNet-20": value}) for name, value in of_filtered.items()}
pd.DataFrame(rows).T.rename_axis("share of high frequencies").round(3)

# %%
words = compared(of_filtered["high-pass"], rows["untrained"]["ResNet-20"], same="as")
control = f"ResNet-20 trained on high-passed images, which must use them: {words} untrained"
run.say(f"{control}.")

# %%
beyond = (high["natural"] - high["untrained"]).mean(0)  # by draw
both = zip(ARCHITECTURES.values(), rows["natural"], rows["untrained"], strict=True)
note = "; ".join([*(f"{title} {compared(*pair)} untrained" for title, *pair in both), control])

run.check("freq-3-natural-high", beyond.tolist(), scale=scale, source=data, note=note)

# %% [markdown]
# A trained network below an untrained one has a smaller share of high frequencies than its start.
# Where the network of high-passed images, the positive control, is below the untrained one too,
# this test cannot tell what natural training leans on. What an untrained network uses is a matter
# of its architecture and of the images alone.
#
# Claim 4 is tested once: of every image that all four networks get right, the robust network's
# share minus the natural one's. Networks differ for other reasons too. So from this goes the null:
# the largest such difference of a network that saw neither attacks nor filters nor noise, but
# another weight decay, mixed images or, on CIFAR-10, another random start alone (notebook 4's
# table). Networks trained on low-passed images are the positive control. The architecture with the
# smaller rest counts.

# %%
both = torch.stack([right[key] for key in panels]).all(0)
pairs = {
    name: np.stack([(low[arch, robust] - low[arch, "natural"])[both] for arch in ARCHITECTURES], 1)
    for name, low in {"with": share, "without": without}.items()
}  # each (images, architectures)

# %%
resamples = run.sizes.bootstrap
gain = {name: smallest_mean(apart, resamples, seed) for name, apart in pairs.items()}
gains = pd.DataFrame(gain, ["smallest mean", "low", "high"]).T
gains.rename_axis("constant component").round(3)

# %%
null.round(3)

# %%
by_arch = dict(zip(ARCHITECTURES, pairs["with"].T, strict=True))
beyond = zoo_evidence.beyond_null(by_arch, dataset, resamples, seed)
natural_share = share["resnet20", "natural"]
filtered = {"resnet20": (share["resnet20", "low_pass"] - natural_share).numpy()}
control = zoo_evidence.beyond_null(filtered, dataset, resamples, seed)

# %%
for name, one in {"adversarial training": beyond, "low-passed images": control}.items():
    words = f"{number(one.value)}, {beside_zero(*one.interval)}"
    run.say(f"Low share beyond the largest of the null, {name}: {words}.")

# %% [markdown]
# One network a variant says nothing of other trainings. The table of notebook 4 has two of each on
# CIFAR-10 and one on drawn images, where smallest and largest are the same; here each adversarially
# trained network is set against each natural one of its architecture, first with the constant
# component, then without it. Where the smallest and the largest difference of a row have different
# signs, a single pair of networks could have told either story.

# %%
spread = zoo_evidence.between_trainings("pgd")
spread.round(3)

# %%
zoo_evidence.between_trainings("pgd", "low_logit_without_constant").round(3)

# %%
other = "without the constant component {:.3f} [{:.3f}, {:.3f}]".format(*gain["without"])
ends = f"{spread.smallest.min():.3f} to {spread.largest.max():.3f}"
notes = [f"adversarial training: {VARIANTS[robust]}", other]
notes += ["before the null is taken off {:.3f} [{:.3f}, {:.3f}]".format(*gain["with"])]
notes += [f"pairs of trainings, two data sets: {ends}"]

# %%
scale = f"{int(both.sum())} of {len(images)} images, one model a variant"
options = {"scale": scale, "source": data, "note": "; ".join(notes)}
options |= {"interval": beyond.interval, "over": "images, those of the null too"}
run.check("freq-4-adversarial-low", beyond.value, **options)

# %% [markdown]
# ## On real images
#
# The published ResNet-20 and two networks of notebook 4 on twenty test images of CIFAR-10, which
# come with the package foolbox. Twenty images are a check of the code and an illustration, not a
# measurement.

# %%
real = foolbox_cifar10()
x, y = real.floats().to(device()), real.labels.to(device())
nets = {"published ResNet-20": load_checkpoint("cifar10-published-resnet20")}
for title, name in (("natural", "natural"), ("PGD training", "pgd")):
    nets[title] = load_checkpoint(f"cifar10-resnet20-{name}", zoo_evidence.FOLDER)


# %%
def shares(pixels):
    """The low share by network and image."""
    maps = {n: sampled_frequency(net, pixels, y, seed=seed) for n, net in nets.items()}
    return pd.DataFrame({n: occlusion.low_share(m, LOW_CUTOFF).cpu() for n, m in maps.items()})


# %%
right_of = {name: int((predict(net.to(device()), x) == y).sum()) for name, net in nets.items()}
low = shares(x)
pd.DataFrame({"right": right_of, "low share": low.mean(), "± over images": low.sem()}).round(3)

# %%
published, *others = low.mean()
nearest = low.columns[1 + np.abs(np.array(others) - published).argmin()]
run.say(f"The published network's low share, {number(published)}, is nearest to: {nearest}.")

# %% [markdown]
# The published network was trained by others, as usual. If its share were not near that of our
# naturally trained one, ours would not stand for networks at large. Notebook 4's table has the same
# two networks on a hundred other images.

# %% [markdown]
# Some copies of CIFAR-10 have been through JPEG, which rounds high frequencies most coarsely. The
# same networks on the same images, compressed at a quality of 75:

# %%
lossy = jpeg(real.images, 75).to(device()) / 255
right_of = {name: int((predict(net, lossy) == y).sum()) for name, net in nets.items()}
lost = shares(lossy) - low
columns = {"right": right_of, "low share": (low + lost).mean(), "change": lost.mean()}
pd.DataFrame(columns | {"± over images": lost.sem()}).round(3)

# %%
mean, change = (low + lost).mean().iloc[0], lost["published ResNet-20"]
words = compared(mean, published, more="higher than", less="lower than", digits=3)
words += f" without; over these images the change is {beside_zero(*student(change))}"
run.say(f"Through JPEG the published network's low share is {words}.")

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %%
held = np.array([one.mean().item() for one in share.values()])  # by the low components, a network
times = held / (1 - held) * (32**2 / LOW_CUTOFF**2 - 1)  # what a low one counts, in high ones
words = f"{counted(times > 1)} networks, {number(times.min())} times as much at least"
run.say(f"A low component counts for more than a high one in {words}.")

# %%
change, *ends = gain["with"]
words = f"{number(change)}, {beside_zero(*ends)}"
run.say(f"Low share after adversarial minus after natural training, smaller of two: {words}.")
words = f"{number(beyond.value)}, {beside_zero(*beyond.interval)}"
run.say(f"What of it is beyond networks that no attack has trained: {words}.")

# %% [markdown]
# **The question answered.** Component by component, the first line above says how much more a
# prediction hangs on low frequencies than on the high ones, which are many and count for little
# each. What adversarial training changes is the balance between the two. The second line says in
# which direction, and how clearly; the third whether another recipe could have done as much.
#
# **Deviations and limits.** The paper's normalisation could not be read; ours is in the module's
# docstring. The intervals are over images; over trainings there is what notebook 4's table has, one
# or two of each. A share of components is not a share of energy: nearly all components have max(u,
# v) ≥ 8, and the removal of each one is small, so that a high-frequency share says less than the
# difference between two models does. The null has few networks, of notebook 4's recipe, which
# trains for another number of epochs than these had.
