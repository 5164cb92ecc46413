# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 · What attacks change: the relative change in the DCT
#
# **Question.** Which frequencies do white-box and black-box attacks change?
#
# **In the paper.** Wang et al., [arXiv 2005.03141](https://arxiv.org/abs/2005.03141), claim 2 and
# the RCT maps: "high-frequency features, the target features of the adversarial (black and
# white-box) attackers". There: 200 CIFAR-10 images and a VGG-19. Here: a VGG with seven
# convolutions.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji-10, drawn here | under 1.5 GB | none | CPU or GPU |
# | paper | CIFAR-10 test split | under 2 GB | CIFAR-10, if no copy is given | CPU or GPU |
#
# *Measured when published: default 2 minutes of one core, 994 MB; paper 7 minutes, 1343 MB.*
#
# Tested on one core of a CPU; a GPU is used where CUDA finds one (untested).

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, cifar10

# %%
from paperlib.freq import sizes
from paperlib.notebook.start import start

run = start("02_rct", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import pandas as pd
import torch

from paperlib.freq import bands, changes, plots, rct
from paperlib.freq.attacks import ATTACKS
from paperlib.freq.controls import CONTROLS
from paperlib.freq.tables import bootstrap, curve_table, map_table
from paperlib.freq.variants import load_images, load_variant
from paperlib.models.training import predict
from paperlib.notebook.figures import as_pixels
from paperlib.notebook.words import compared, counted
from paperlib.runtime import device

# %% [markdown]
# ## Model and images
#
# The naturally trained VGG, and test images that it gets right: an attack on an image that is
# already wrong has nothing to do.

# %%
model = load_variant(dataset, "vgg_small", "natural").to(device())
test = load_images(dataset, "test").sample(2 * run.sizes.images, seed)
data, share = changes.first_right(model, test, run.sizes.images)
images, labels = data.floats().to(device()), data.labels.to(device())
print(f"{test.source}: accuracy {100 * share:.1f} % on {len(test)} images")

# %% [markdown]
# ## The attacks
#
# Four white-box attacks and four black-box ones, none written here. Black-box attacks need
# thousands of queries an image, up to 48,000, so they get fewer images, HopSkipJump, which asks
# most, the fewest: it begins where it fools, and what its queries buy is a smaller change. It ends
# so close to the border that rounding can put an image back.
#
# An *adversarial attack* looks for a small change of an image that makes the model err. White-box
# attacks know the weights and follow the gradient of the loss with respect to the pixels: FGSM in
# one step, PGD in many small ones, within a largest change a pixel (L∞) or a length of the whole
# change (L2), C&W by trading length against success. Black-box attacks only see the model's
# answers: Square Attack tries squares of one colour, SimBA single pixels or single cosine waves,
# HopSkipJump walks along the border between two answers.

# %%
counts = {"white-box": len(images), "black-box": run.sizes.black_box_images}
counts["hopskipjump"] = run.sizes.hopskipjump_images
bounds, steps = run.sizes.epsilon, run.sizes.steps
path = []  # how far HopSkipJump is after each step
after, fools = changes.attack_all(model, images, labels, counts, bounds, steps, seed, path)

# %% [markdown]
# An attack has shown what it changes only where it fools the model. From here on it counts on those
# images alone, and not at all if it fools too few of them.

# %%
moved = {name: (images[: len(x)][fools[name]], x[fools[name]]) for name, x in after.items()}
table = changes.attack_table(moved, fools)
moved = {name: pair for name, pair in moved.items() if len(pair[0]) >= run.sizes.fewest}
left_out = ", ".join(kind.title for name, kind in ATTACKS.items() if name not in moved)
table.round(3)

# %% [markdown]
# HopSkipJump begins where it fools; what its queries buy is a smaller change. Where it has not come
# to rest, its change still holds some of the noise from which it began, and its row says little of
# what an attack seeks. C&W, which knows the weights, shows on the same images how small a change
# can be.

# %%
path = torch.cat(path, 1).cpu()  # (steps + 1, images)
few = slice(path.shape[1])
smallest = changes.norms((images[few], after["cw_l2"][few])).cpu()
smallest[~fools["cw_l2"][few].cpu()] = torch.nan

# %%
shown = sorted({0, 1, 2, 5, 10, len(path) // 2, len(path) - 1} & set(range(len(path))))
changes.path_table(path, smallest, shown).round(2)

# %%
fall = changes.late_fall(path)
rests = "it has come to rest" if fall < changes.CONVERGED else "it has not come to rest"
words = f"the last quarter of its steps takes {100 * fall:.1f} % off its median L2: {rests}"
run.say(f"HopSkipJump: {words} ({100 * changes.CONVERGED:.0f} % are allowed).")

# %% [markdown]
# ## Controls
#
# Whatever is said of attacks must be said beside changes that know no model: white noise, $1/f$
# noise (as strong in each frequency as a photograph is), and the image moved by one pixel. In the
# maps, curves and bars the two noises have the L2 norm of PGD L∞, on the images that it fools.

# %%
clean, norms = moved["pgd_linf"][0], changes.norms(moved["pgd_linf"])
controls = {name: (clean, kind.call(clean, norms, seed)) for name, kind in CONTROLS.items()}

# %%
firsts = {name: x[:1] for name, x in after.items()}
firsts |= {name: kind.call(images[:1], norms[:1], seed) for name, kind in CONTROLS.items()}
pictures = torch.cat(list(firsts.values())).cpu()
apart = pictures - images[:1].cpu()
apart = apart / apart.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-9) / 2 + 0.5

# %%
fooled = (predict(model, pictures) != data.labels[0]).tolist()
table = pd.DataFrame({"change": list(firsts), "fools": fooled})
pixels = {"images": as_pixels(pictures), "changes": as_pixels(apart)}
run.save_figure(plots.attacked_images, table, pixels)

# %% [markdown]
# Above the image as the network gets it, below the change alone, made visible: each column on its
# own scale, so sizes cannot be compared. The title says whether the network errs on this one image.
# The last columns are the controls, which know nothing of the network.
#
# ## RCT maps
#
# $$\mathrm{RCT}_{uv} = \frac{\sum_i |\Delta X^{(i)}_{uv}|}{\sum_i (|X^{(i)}_{uv}| + \varepsilon)}$$
#
# How much an attack changes a component, as a share of how much of it there is in the images.

# %%
maps = {name: rct.rct_map(*pair).cpu() for name, pair in (moved | controls).items()}  # (32, 32)
run.save_figure(plots.rct_maps, map_table(maps, ["change"]))

# %% [markdown]
# Bright is a large change for how much an image has there; the colours are the same in all maps.
# Compare an attack's map with that of white noise, not with an even one: only an attack that
# brightens more steeply towards the bottom right than noise does would seek high frequencies.

# %%
rings = {k: bands.radial_mean(rct.rct_images(*pair), 32) for k, pair in (moved | controls).items()}
run.save_figure(plots.rct_curves, curve_table(rings, 32, run.sizes.bootstrap, seed, ["change"]))

# %% [markdown]
# The curves use the per-image form $|\Delta X| / (|X| + \varepsilon)$, so that a confidence band
# (95 %, bootstrap over images) can be given; it weighs images most that lack a component.
#
# Read each curve against the dashed one of white noise, not against the axis: all may rise to the
# right, because images have little there. A curve that rises like noise shows what images are like,
# and nothing of the attack.
#
# ## More than noise?
#
# The claim uses the map, and one number of it: the mean over the upper half of the radii divided by
# the mean over the lower half. White noise alone has a large one, because images have little in
# high frequencies. So the claim compares each attack with white noise of its own L2 norm on the
# same images: the difference of the two numbers must be above 0. Its 95 % interval is over images.

# %%
excess = changes.excess_table(moved, run.sizes.bootstrap, seed)
excess.set_index("title").round(2)

# %%
titles = [kind.title for kind in CONTROLS.values()]
more = [f"{title} {counted(excess.attack > excess[title])}" for title in titles]
run.say(f"So many attacks have more than the control on the same images: {', '.join(more)}.")
clear = f"{counted(excess['from'] > 0)} have clearly more, {counted(excess['to'] < 0)} clearly less"
run.say(f"By the intervals {clear} than white noise.")

# %% [markdown]
# A change with the images' own spectrum, the same share of every component, would have 1. More than
# 1 says only that the spectrum of a change falls less steeply than that of the images, and noise
# that knows no model does that too. Only more than white noise has, whose spectrum does not fall at
# all, says that an attack seeks high frequencies.
#
# An interval that holds zero leaves it open. SimBA tries all directions alike, so it is the attack
# of which no difference from white noise is to be expected.

# %%
accesses = {"freq-2-white-box": "white-box", "freq-2-black-box": "black-box"}
of_claim = {claim: excess[excess.access == access] for claim, access in accesses.items()}
least = {claim: rows.loc[rows.difference.idxmin()] for claim, rows in of_claim.items()}
more_of = {"freq-2-white-box": "", "freq-2-black-box": f"; HopSkipJump: {rests}"}

# %%
for claim, row in least.items():
    note = changes.excess_words(of_claim[claim]) + more_of[claim]
    about = {"scale": f"VGG, {counts[accesses[claim]]} images", "source": data, "note": note}
    over = {"interval": (row["from"], row["to"]), "over": f"images that {row.title} fools"}
    run.check(claim, float(row.difference), **about, **over)

# %%
print(f"fool too few images to count: {left_out or 'none'}")

# %% [markdown]
# ## Where the energy of the change is
#
# A large relative change is not a large change: there is little of the high frequencies in an
# image. The strict reading of the claim asks for the share of $\sum \Delta X^2$ in each band. White
# noise gives each band about the share of components that it holds.

# %%
edges = ["max(u, v) < 8", "8 to 15", "16 to 23", "24 to 31"]
shares = {k: rct.energy_shares(*pair, 4, "square").cpu() for k, pair in (moved | controls).items()}
energy = pd.DataFrame({name: share.mean(0).numpy() for name, share in shares.items()}, edges)
energy.T.round(3)

# %%
table = energy.T.reset_index(names="change").melt("change", var_name="band", value_name="share")
run.save_figure(plots.energy_shares, table)

# %% [markdown]
# Each bar is one change, cut into four bands from low frequencies at the left to high ones at the
# right. The bar to compare with is that of white noise, whose pieces are about as long as their
# bands have components. A preference for high frequencies would be last pieces, from 16 on, that
# are longer than those of noise.

# %%
late = energy.loc[edges[2:]].sum()  # by change
least = late[list(moved)].idxmin()
words = compared(late[least], late.white_noise, same="as")
run.say(f"The least share from 16 on has {ATTACKS[least].title}: {words} of white noise.")

# %%
high = (shares["pgd_linf"] - shares["white_noise"])[:, 2:].sum(1).numpy()  # one an image
low, up = bootstrap(high, resamples=run.sizes.bootstrap, seed=seed)
mean = {name: float(energy.loc[edges[2:], name].sum()) for name in ("pgd_linf", "white_noise")}
both = "{pgd_linf:.3f} against {white_noise:.3f}".format_map(mean)

# %%
most = late[list(moved)].idxmax()
words = compared(late[most], late.white_noise, same="as", digits=3)
both += f"; largest of all attacks, {ATTACKS[most].title}: {words} of white noise"

# %%
options = {"interval": (low, up), "over": "images", "note": both}
scale = f"VGG, {len(high)} of {len(images)} images"
run.check("freq-2-energy", float(high.mean()), scale=scale, source=data, **options)

# %% [markdown]
# A share above one half is not a preference: high frequencies are three quarters of all
# components, and an attack whose share is below that of white noise puts *more* than its due into
# low frequencies. Of Square Attack one would expect that, as it paints squares.

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %%
steep = [counted(excess[name] > 1) for name in ("attack", "white noise")]
words = f"attacks {steep[0]}, white noise on the same images {steep[1]}"
run.say(f"Changed more, relatively, in the upper half of the radii: {words}.")
run.say(f"Attacks that go beyond white noise there: {counted(excess.difference > 0)}.")

# %% [markdown]
# **The question answered.** White noise prefers no frequency. Where it, too, changes high ones most
# when divided by what an image has there, that comes from the images, which have little at high
# frequencies. The paper's picture may come out then, attack by attack, but what it says of attacks
# is only what goes beyond noise, and the lines above say whether anything does.
#
# **Deviations and limits.** The denominator is the magnitude of a coefficient plus
# $\varepsilon$, the standard deviation that rounding to 8 bits gives it; an unofficial
# implementation divides by the signed coefficient, which explodes near zero. The model is smaller
# than the paper's VGG-19. The images on which an attack counts are its own choice: those that it
# fools. White noise is clipped to [0, 1], which takes a little of its norm. SimBA
# (DCT) tries all cosines in random order, not the lowest first, so that its order decides nothing.
