# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8 · What a server can find out
#
# **Question.** A server gets some windows of the image. How much of the rest can it rebuild or
# recognise, alone or with others, from pixels and from the tokens of later rounds?
#
# **In the paper.** Ding et al., [arXiv 2512.09309](https://arxiv.org/abs/2512.09309): no server
# holds the whole image; reconstruction and object-detection attacks on what a server sees. The
# attacks here are ours, as the paper's could not be read in detail; the attack on later rounds is
# an extension.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji scenes, drawn here | under 1.5 GB | none | CPU, one core |
# | paper | photographs; OpenMoji scenes where labels are needed | under 2 GB | none | CPU |
#
# For photographs, name a folder of images (BSDS500, or any other):
# `PAPERLIB_PHOTOGRAPHS=/path/to/folder`. `run_all.sh` prints the time and the peak of memory.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, photographs

# %%
from paperlib.notebook.start import start
from paperlib.pedsam import sizes

run = start("08_privacy", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from paperlib.models.sam import load_sam
from paperlib.notebook.figures import LABELS, METHOD_COLOURS, image_row
from paperlib.pedsam.attacks import measures, privacy, recognition
from paperlib.pedsam.attacks.images import Targets, load_objects, single_scenes, targets_of
from paperlib.pedsam.attacks.networks import (
    CLASSIFIER_SIZE,
    GRID,
    SAM,
    SERVERS,
    SIZE,
    load_attack,
)
from paperlib.pedsam.attacks.views import draw_views, to_pixels
from paperlib.pedsam.small_sam.scenes import load_draws
from paperlib.pedsam.split.partition import assign

# %% [markdown]
# ## Images, tokens and attackers
#
# The small SAM cuts an image of 320 × 320 pixels into 16 windows. Reconstruction works at
# 160 × 160, where a window has the same place and a quarter of the pixels. The attack networks
# were trained on drawn scenes with other drawings; on photographs they are the same networks, so
# that their results there are a lower bound.

# %%
sam = load_sam(SAM)
networks = privacy.load_networks()
drawn = load_draws(dataset, run.sizes.images, run.sizes.seeds, seed)
draws = [targets_of(sam, images) for images in drawn.images]
print(f"{drawn.source}: {len(draws)} × {tuple(draws[0].images.shape)}")
print(f"tokens of round two: {tuple(draws[0].tokens.shape)}; {GRID.count} windows")

# %% [markdown]
# Five attacks fill in what a view $m$ hides: the mean colour of what is seen; a biharmonic
# surface, $\Delta^2 u = 0$ in the hole; a network $f(m, x \odot m)$ trained to rebuild images; the
# same network with the tokens $t$ that the coalition receives in round two, $f(m, x \odot m, t
# \odot m)$; and with these tokens alone, $f(m, t \odot m)$. In the exact schedule the tokens have
# been through a global attention block, so they have read from the whole image.

# %%
kinds = ["contiguous", "interleaved", "random"]
single = [(kind, servers, 1) for kind in kinds for servers in SERVERS]
together = [("random", 4, c) for c in (2, 3)] + [("random", 16, c) for c in (2, 4, 8, 12)]
rows = []
for kind, servers, colluding in single + together:
    for k, targets in enumerate(draws):
        views = draw_views(GRID, kind, servers, colluding, run.sizes.images, seed + k)
        setting = {"assignment": kind, "servers": servers, "colluding": colluding, "seed": k}
        setting["share seen"] = views.float().mean().item()
        rows += [setting | row for row in privacy.attack_quality(networks, targets, views)]
measured = pd.DataFrame(rows)

# %% [markdown]
# ## What it looks like
#
# One server's view under a random assignment, and what the attacks make of it.

# %%
few = Targets(draws[0].images[:4], draws[0].tokens[:4])
views = torch.cat([draw_views(GRID, "random", k, 1, 1, seed + n) for n, k in enumerate(SERVERS)])
seen = to_pixels(views, SIZE)
pictures = {"view": few.images * seen[:, None], **privacy.attack(networks, few, views)}
pictures["image"] = few.images

# %%
figure, axes = plt.subplots(len(SERVERS), len(pictures), figsize=(8, 4.9))
titles = [LABELS.get(name, name).replace(" ", "\n", 1) for name in pictures]
for n, (servers, line) in enumerate(zip(SERVERS, axes, strict=True)):
    images = torch.stack([shown[n] for shown in pictures.values()])
    image_row(line, images.numpy(), titles if n == 0 else (), f"1 of {servers}")
for ax in axes[0]:
    ax.set_title(ax.get_title(), fontsize=9)
values = pd.DataFrame(
    [
        {"servers": servers, "attack": name, "PSNR unseen": row["PSNR unseen"][n].item()}
        for name in privacy.ATTACKS
        for row in [measures.quality(few.images, pictures[name], seen)]
        for n, servers in enumerate(SERVERS)
    ]
)
run.save_figure(figure, "rebuilt", values)

# %% [markdown]
# ## Reconstruction by one server
#
# PSNR over the pixels that the server has not seen, and SSIM over the whole image, where plain
# cloud has 1.

# %%
keys = ["assignment", "servers", "colluding", "attack"]
numbers = ["share seen", "PSNR unseen", "SSIM unseen", "PSNR image", "SSIM image"]
means = measured.groupby(keys, sort=False)[numbers].mean().reset_index()
alone = means[means.colluding == 1]
alone[alone.assignment == "random"].drop(columns=["assignment", "colluding"]).round(3)

# %%
figure, axes = plt.subplots(2, 3, figsize=(8, 5.2), sharex=True, sharey="row")
for (kind, attack), part in alone.groupby(["assignment", "attack"], sort=False):
    for ax, measure in zip(axes[:, kinds.index(kind)], ["PSNR unseen", "SSIM image"], strict=True):
        if (attack, measure) != ("tokens", "SSIM image"):
            colour = METHOD_COLOURS[attack]
            ax.plot(part.servers, part[measure], "o-", color=colour, label=LABELS[attack])
for ax, kind in zip(axes[0], kinds, strict=True):
    ax.set(title=kind, xscale="log")
for ax in axes[1]:
    ax.set(xlabel="servers", xticks=SERVERS, xticklabels=SERVERS)
    ax.minorticks_off()
axes[0, 0].set_ylabel("PSNR, unseen (dB)")
axes[1, 0].set_ylabel("SSIM, image")
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
run.save_figure(figure, "reconstruction", alone)

# %% [markdown]
# The attack from tokens alone does not use the pixels that the server also has; its place is in
# the comparison over unseen pixels. The best attack in each setting, one row a number of servers:

# %%
by_seed = measured[measured.colluding == 1]
best = by_seed.groupby(["assignment", "servers", "seed"])["SSIM image"].max().unstack()
best.T.describe().loc[["mean", "std"]].T["mean"].unstack(0).round(3)

# %%
note = "plain cloud: 1"
scale = f"{run.sizes.images} images, {run.sizes.seeds} seeds"
run.check("pedsam-rebuilt", best.max().tolist(), scale=scale, source=drawn.source, note=note)

# %%
falls = -pd.concat([pd.DataFrame(1.0, [1], best.columns), best.loc["random"]]).diff().iloc[1:]
falls.round(3)

# %%
smallest = falls.min().tolist()
run.check("pedsam-rebuilt-fewer", smallest, scale=scale, source=drawn.source)

# %% [markdown]
# ## Collusion
#
# Servers that put their views together, under a random assignment.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True)
joint = means[(means.assignment == "random") & means.servers.isin([4, 16])]
for (servers, attack), part in joint.groupby(["servers", "attack"], sort=False):
    for ax, measure in zip(axes, ["PSNR unseen", "SSIM image"], strict=True):
        if (attack, measure) != ("tokens", "SSIM image"):
            part = part.sort_values("colluding")
            style = {4: "s--", 16: "o-"}[servers]
            label = LABELS[attack] if servers == 16 else None
            colour = METHOD_COLOURS[attack]
            x = part.colluding / servers
            ax.plot(x, part[measure], style, color=colour, label=label, markersize=5)
axes[0].set(ylabel="PSNR, unseen (dB)", xlabel="share of servers that collude")
axes[1].set(ylabel="SSIM, image", xlabel="share of servers that collude")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
run.save_figure(figure, "collusion", joint)

# %% [markdown]
# Solid with circles: 16 servers; dashed with squares: 4.
#
# ## What later rounds leak
#
# The same network, trained alike on the same scenes, once with the pixels alone and once with the
# tokens of round two as well. What the second gains over unseen pixels, the tokens have brought
# from windows that the coalition never got. Both against the best attack without tokens.

# %%
table = measured.pivot_table("PSNR unseen", [*keys[:3], "seed"], "attack", sort=False)
without = table[["mean_fill", "biharmonic", "inpainting"]].max(axis=1)
gain = pd.DataFrame(
    {
        "pixels and tokens": table["inversion"] - without,
        "tokens alone": table["tokens"] - without,
    }
)
gain.groupby(keys[:3], sort=False).mean().unstack(0).xs(1, level="colluding").round(2)

# %%
shown = gain.groupby(keys[:3], sort=False).mean().reset_index()
figure, axes = plt.subplots(1, 2, figsize=(8, 3.3), sharey=True)
for kind, part in shown[shown.colluding == 1].groupby("assignment", sort=False):
    axes[0].plot(part.servers, part["pixels and tokens"], "o-", label=kind)
many = shown[(shown.assignment == "random") & (shown.servers == 16)].sort_values("colluding")
for name, attack in {"pixels and tokens": "inversion", "tokens alone": "tokens"}.items():
    axes[1].plot(many.colluding, many[name], "o-", color=METHOD_COLOURS[attack], label=name)
axes[0].set(xscale="log", xticks=SERVERS, xticklabels=SERVERS, xlabel="servers")
axes[0].set_title("one server", fontsize=11)
axes[1].set_title("of 16 servers", fontsize=11)
axes[1].set_xlabel("colluding servers")
axes[0].set_ylabel("gain by tokens, unseen (dB)")
for ax in axes:
    ax.minorticks_off()
    ax.axhline(0, color="0.6", linewidth=1)
    ax.legend(fontsize=9)
run.save_figure(figure, "later_rounds", shown)

# %%
leak = gain.max(axis=1).xs(("random", 1), level=("assignment", "colluding"))
note = f"{sum(gain.mean() > 0)} of 2 attacks with tokens beat the best one without"
values = leak.groupby("seed").mean().tolist()
run.check("pedsam-later-rounds", values, scale=scale, source=drawn.source, note=note)

# %% [markdown]
# The tokens of later rounds do leak: with them the attacks are better at every number of servers
# than the best one without. The gain is small, for these attackers; but being sent only windows of
# one's own is no protection once tokens have been through global attention. The remedy is the
# pixels-once schedule: it has one round, in which servers get pixels, and no token that has seen
# other windows ever leaves the edge. Notebook 7 shows what it costs in quality.

# %%
from paperlib.pedsam.split.schedule import rounds

for schedule in ("exact", "pixels_once"):
    later = rounds(sam.image_encoder, schedule)[1:]
    print(f"{schedule}: {len(later)} rounds with tokens")

# %% [markdown]
# ## Recognition
#
# A classifier of ten classes, trained on views of all kinds, looks at one server's view of a scene
# with a single object. Recognition needs labels, so this part is on OpenMoji scenes in every
# profile.

# %%
classifier = load_attack("classifier")
coalitions = [(k, 1) for k in (1, *SERVERS)] + [(16, c) for c in (2, 4, 8, 12)]
cases = [(kind, *pair) for kind in kinds for pair in coalitions]
rows = []
for k in range(run.sizes.seeds):
    scenes = single_scenes("test", run.sizes.recognised, seed + k)
    for kind, servers, colluding in cases:
        views = draw_views(GRID, kind, servers, colluding, len(scenes), seed + k)
        view = to_pixels(views, CLASSIFIER_SIZE)
        right = recognition.recognised(classifier, scenes.floats(), view, scenes.labels)
        row = {"assignment": kind, "servers": servers, "colluding": colluding, "seed": k}
        rows.append(row | {"accuracy": 100 * right.float().mean().item()})
recognised = pd.DataFrame(rows)

# %% [markdown]
# SAM itself looks at the mean-filled view of a scene with several objects, and is told the true
# box of the largest one. What the box alone says, filled as a mask, is the line to compare with.

# %%
rows = []
for k in range(run.sizes.seeds):
    images, masks = load_objects(run.sizes.segmented, seed + k)
    box = recognition.iou(recognition.box_masks(masks), masks).mean().item()
    for servers, colluding in coalitions:
        views = draw_views(GRID, "random", servers, colluding, len(images), seed + k)
        iou = recognition.segmented(sam, images, to_pixels(views, images.shape[-1]), masks)
        row = {"servers": servers, "colluding": colluding, "seed": k, "box alone": box}
        rows.append(row | {"IoU": iou.mean().item()})
found = pd.DataFrame(rows)

# %%
accuracy = recognised.groupby(keys[:3], sort=False).accuracy.mean().reset_index()
overlap = found.groupby(keys[1:3], sort=False)[["IoU", "box alone"]].mean().reset_index()
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4))
for kind, part in accuracy[accuracy.colluding == 1].groupby("assignment", sort=False):
    axes[0].plot(part.servers, part.accuracy, "o-", label=kind)
axes[0].axhline(10, color="0.6", linewidth=1, label="guessing")
part = overlap[overlap.colluding == 1]
axes[1].plot(part.servers, part.IoU, "o-", label="SAM on a view, random")
axes[1].plot(part.servers, part["box alone"], color="0.6", linewidth=1, label="the box alone")
axes[0].set(ylabel="accuracy (%)", ylim=(0, 103))
axes[1].set(ylabel="IoU of the mask", ylim=(0, 1))
for ax in axes:
    ax.set(xlabel="servers", xscale="log", xticks=(1, *SERVERS), xticklabels=(1, *SERVERS))
    ax.minorticks_off()
    ax.legend(fontsize=9)
seen_by_sam = overlap.assign(assignment="random")
run.save_figure(figure, "recognition", pd.concat([accuracy, seen_by_sam]))

# %% [markdown]
# With collusion, of 16 servers under a random assignment:

# %%
both = accuracy[accuracy.assignment == "random"].merge(overlap, on=keys[1:3])
both[both.servers == 16].drop(columns="assignment").round(2)

# %%
drawn = recognised[(recognised.assignment == "random") & (recognised.colluding == 1)]
falls = -drawn.pivot(index="servers", columns="seed", values="accuracy").diff().iloc[1:]
scale = f"{run.sizes.recognised} images, {run.sizes.seeds} seeds"
source = "OpenMoji-10 (drawn)"
run.check("pedsam-recognition", falls.min().tolist(), scale=scale, source=source)

# %%
views = found[found.colluding == 1].pivot(index="servers", columns="seed", values="IoU")
worse = (views.loc[1] - views.loc[list(SERVERS)]).min()
scale = f"{run.sizes.segmented} images, {run.sizes.seeds} seeds"
run.check("pedsam-sam-view", worse.tolist(), scale=scale, source="OpenMoji scenes (drawn)")

# %% [markdown]
# ## Video
#
# Of a static scene, a server sees $1 - (1 - 1/k)^T$ of the windows in $T$ frames if each frame has
# a fresh random assignment, and $1/k$ if the assignment is kept. Measured over many secrets.

# %%
frames = np.arange(1, run.sizes.frames + 1)
rows = []
for servers in SERVERS:
    shares = []
    for trial in range(run.sizes.trials):
        secret = f"{seed} {trial}".encode()
        fresh = [assign("random", GRID.count, servers, GRID, secret, int(t)) for t in frames]
        shares.append(measures.seen_windows(fresh, [0]))
    mean = torch.stack(shares).mean(0).tolist()
    for t, share in zip(frames.tolist(), mean, strict=True):
        formula = {
            "fresh": measures.exposure(t, servers, fresh=True),
            "kept": measures.exposure(t, servers, fresh=False),
        }
        rows.append({"servers": servers, "frames": t, "measured": share} | formula)
video = pd.DataFrame(rows)

# %%
colours = plt.cm.viridis([0, 0.3, 0.6, 0.85])
figure, ax = plt.subplots(figsize=(6, 3.4))
for colour, (servers, part) in zip(colours, video.groupby("servers"), strict=True):
    ax.plot(part.frames, part.fresh, color=colour, label=f"{servers} servers")
    ax.plot(part.frames, part.measured, "o", color=colour, markersize=4)
    ax.plot(part.frames, part.kept, ":", color=colour)
ax.set(xlabel="frames T", ylabel="share of the windows seen", ylim=(0, 1.03))
figure.legend(loc="outside right center", fontsize=10)
run.save_figure(figure, "video", video)

# %% [markdown]
# Lines: the formula for a fresh assignment; circles: measured; dotted: a kept assignment. Keeping
# it is the better choice for a still camera.

# %%
difference = video.measured - video.fresh
largest = difference[difference.abs().idxmax()]
scale = f"{run.sizes.trials} secrets, {run.sizes.frames} frames"
run.check("pedsam-video", largest, scale=scale, source="assignments")

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **Deviations and limits.** The attacks are ours and small: networks of a million parameters,
# trained for minutes on drawn scenes. A stronger attacker (a large generative model, say) would
# rebuild more; the numbers are lower bounds of what leaks, and a small gain from the tokens is no
# proof of a small leak. A coalition is drawn at random for each image; servers at the right and
# bottom edge have smaller windows and see less than the average. SAM and the classifier are told
# more than a server would know (the box; that there is one object). Drawn scenes have smooth
# backgrounds, which are easier to continue than photographs.
