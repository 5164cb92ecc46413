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
# | smoke, default | OpenMoji-10, drawn here | under 1.5 GB | none | CPU, one core |
# | paper | CIFAR-10 test split | under 2 GB | CIFAR-10, if no copy is given | CPU or GPU |
#
# `run_all.sh` prints the time and the peak of memory of every run.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, cifar10

# %%
from paperlib.freq import sizes
from paperlib.notebook.start import start

run = start("02_rct", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from paperlib.freq import bands, rct
from paperlib.freq.attacks import ATTACKS, attack
from paperlib.freq.variants import load_images, load_variant
from paperlib.models.training import predict
from paperlib.notebook.bootstrap import bootstrap_mean
from paperlib.notebook.figures import METHOD_COLOURS, band_curve, frequency_map, image_row

# %% [markdown]
# ## Model and images
#
# The naturally trained VGG, and test images that it gets right: an attack on an image that is
# already wrong has nothing to do. Every evaluation seed has images of its own.

# %%
model = load_variant(dataset, "vgg_small", "natural")
test = load_images(dataset, "test").sample(2 * run.sizes.images * run.sizes.seeds, seed)
correct = predict(model, test.floats()) == test.labels
right = test.subset(correct.nonzero().squeeze(1))
print(f"{test.source}: accuracy {100 * correct.float().mean():.1f} % on {len(test)} images")

# %% [markdown]
# ## The attacks
#
# Four white-box attacks and four black-box ones, none written here. Black-box attacks need many
# queries an image, so in the small profiles they get fewer images.

# %%
counts = {"white-box": run.sizes.images, "black-box": run.sizes.black_box_images}
seeds = range(run.sizes.seeds)
clean, adversarial, labels = {}, {}, {}
for name, kind in ATTACKS.items():
    steps = run.sizes.steps.get(name)
    for k in seeds:
        own = right.subset(torch.arange(counts[kind.knowledge]) + k * run.sizes.images)
        clean[name, k], labels[name, k] = own.floats(), own.labels
        adversarial[name, k] = attack(
            name, model, own.floats(), own.labels, steps=steps, seed=seed + k
        )

# %%
table = []
for name, kind in ATTACKS.items():
    x, moved, y = (
        torch.cat([part[name, k] for k in seeds]) for part in (clean, adversarial, labels)
    )
    change = (moved - x).flatten(1)
    fooled = (predict(model, moved) != y).float().mean().item()
    sizes = {
        "mean L∞": change.abs().amax(1).mean().item(),
        "mean L2": change.norm(dim=1).mean().item(),
    }
    table.append(
        {"attack": kind.title, "access": kind.knowledge, "images": len(x), "fooled": fooled} | sizes
    )
pd.DataFrame(table).set_index("attack").round(3)

# %%
shown = ["fgsm", "pgd_linf", "pgd_l2", "cw_l2", "square", "simba_pixel", "simba_dct", "hopskipjump"]
figure, axes = plt.subplots(2, 8, figsize=(8, 2.4))
image_row(axes[0], torch.stack([adversarial[name, 0][0] for name in shown]), label="image")
changes = torch.stack([adversarial[name, 0][0] - clean[name, 0][0] for name in shown])
image_row(axes[1], changes / changes.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-9) / 2 + 0.5)
axes[1, 0].set_ylabel("change")
for ax, name in zip(axes[0], shown, strict=True):
    ax.set_title(ATTACKS[name].title, fontsize=7)

# %% [markdown]
# ## RCT maps
#
# $$\mathrm{RCT}_{uv} = \frac{\sum_i |\Delta X^{(i)}_{uv}|}{\sum_i (|X^{(i)}_{uv}| + \varepsilon)}$$
#
# How much an attack changes a component, as a share of how much of it there is in the images.

# %%
maps = {
    name: torch.stack([rct.rct_map(clean[name, k], adversarial[name, k]) for k in seeds])
    for name in ATTACKS
}  # each (seeds, 32, 32)

# %%
figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), sharex=True, sharey=True)
for ax, name in zip(axes.flat, shown, strict=True):
    limits = (0.01, 3)  # the same in all maps
    values = maps[name].mean(0)
    image = frequency_map(ax, values, ATTACKS[name].title, log=True, limits=limits, bar=False)
    ax.set(xlabel="v", ylabel="u")
    ax.label_outer()
figure.colorbar(image, ax=axes, label="RCT", shrink=0.7)
profiles = {name: bands.radial_mean(maps[name].mean(0), 32).numpy() for name in ATTACKS}
values = pd.DataFrame(profiles).assign(radius=np.arange(32) + 0.5)
run.save_figure(figure, "rct_maps", values)

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
for ax, access in zip(axes, counts, strict=True):
    for name in (name for name, kind in ATTACKS.items() if kind.knowledge == access):
        rings = torch.cat([rct.rct_images(clean[name, k], adversarial[name, k]) for k in seeds])
        low, high = bootstrap_mean(bands.radial_mean(rings, 32), run.sizes.bootstrap, seed)
        middle = bands.radial_mean(rings, 32).mean(0)
        band_curve(ax, values.radius, middle, low, high, ATTACKS[name].title, METHOD_COLOURS[name])
    ax.set(title=access, xlabel="radius (components)", yscale="log")
    ax.legend()
axes[0].set_ylabel("RCT, mean over images")
run.save_figure(figure, "rct_curves", values)

# %% [markdown]
# The curves use the per-image form $|\Delta X| / (|X| + \varepsilon)$, so that a confidence band
# (95 %, bootstrap over images) can be given; it weighs images most that lack a component. The
# claim below uses the map. It compares the mean over the upper half of the radii with that over
# the lower half, and takes the attack for which the ratio is smallest.

# %%
rings = {name: bands.radial_mean(maps[name], 32) for name in ATTACKS}  # (seeds, 32)
ratios = {name: (r[:, 16:].mean(1) / r[:, :16].mean(1)).numpy() for name, r in rings.items()}
ratios = pd.DataFrame(ratios)
ratios.mean().rename(lambda name: ATTACKS[name].title).round(2).to_frame("upper half / lower half")

# %%
for claim, access in [("freq-2-white-box", "white-box"), ("freq-2-black-box", "black-box")]:
    names = [name for name, kind in ATTACKS.items() if kind.knowledge == access]
    scale = f"{counts[access]} images, {run.sizes.seeds} seeds, VGG"
    run.check(claim, ratios[names].min(axis=1).tolist(), scale=scale, source=test.source)

# %% [markdown]
# ## Where the energy of the change is
#
# A large relative change is not a large change: there is little of the high frequencies in an
# image. The strict reading of the claim asks for the share of $\sum \Delta X^2$ in each band. If
# an attack did not care about frequency (white noise), a band would get the share of components
# that it holds.

# %%
edges = ["max(u, v) < 8", "8 to 15", "16 to 23", "24 to 31"]
shares = {
    name: [
        rct.energy_shares(clean[name, k], adversarial[name, k], 4, "square").nanmean(0)
        for k in seeds
    ]
    for name in ATTACKS
}
energy = pd.DataFrame({name: torch.stack(s).mean(0).numpy() for name, s in shares.items()}, edges).T
energy.loc["white noise"] = bands.band_masks(32, 4, "square").float().mean((1, 2)).numpy()

# %%
figure, ax = plt.subplots(figsize=(7, 3.8))
energy.rename(lambda name: ATTACKS[name].title if name in ATTACKS else name).plot.barh(
    stacked=True, ax=ax, colormap="viridis", width=0.8
)
ax.set(xlabel="share of the perturbation's energy", ylabel="", xlim=(0, 1))
ax.invert_yaxis()
ax.legend(bbox_to_anchor=(0.5, 1.0), loc="lower center", ncols=4, fontsize=9)
run.save_figure(figure, "energy_shares", energy.rename_axis("attack").reset_index())

# %%
high = [float(share[2:].sum()) for share in shares["pgd_linf"]]
scale = f"{run.sizes.images} images, {run.sizes.seeds} seeds, VGG"
note = f"white noise has {energy.loc['white noise'][2:].sum():.2f} there"
run.check("freq-2-energy", high, scale=scale, source=test.source, note=note)

# %% [markdown]
# A share above one half is not a preference: high frequencies are three quarters of all
# components, and an attack whose share is below that of white noise puts *more* than its due into
# low frequencies. Square Attack, which paints squares, is the extreme.

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **Deviations and limits.** The denominator is the magnitude of a coefficient plus
# $\varepsilon$, the standard deviation that rounding to 8 bits gives it; an unofficial
# implementation divides by the signed coefficient, which explodes near zero. The model is smaller
# than the paper's VGG-19. "Mostly change high frequencies" holds of the *relative* change by a wide
# margin whenever an image has little high-frequency content, also for white noise; the energy
# shares beside the white-noise row say whether an attack prefers high frequencies on its own. SimBA
# (DCT) tries all cosines in random order, not the lowest first, so that its order decides nothing.
