# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 · What each server gets
#
# **Question.** How does the edge cut an image up for servers that must not see it, and does SAM's
# encoder still give the same result?
#
# **In the paper.** Ding et al., [arXiv 2512.09309](https://arxiv.org/abs/2512.09309): "this
# orchestrator partitions the user's visual data into smaller portions and distributes them across
# multiple independent cloud servers. By design, no single external server possesses the complete
# image". The system and the case study, Segment Anything.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | OpenMoji scenes, drawn here | under 1.5 GB | none | CPU, one core |
# | paper | photographs | under 1.5 GB | none | CPU |
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

run = start("06_partition", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import itertools
import json

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import display

from paperlib.models.sam import PUBLISHED, build_sam, load_sam
from paperlib.notebook.figures import assignment_map, image_row
from paperlib.pedsam.attacks.measures import window_neighbours
from paperlib.pedsam.explorer import explorer
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.small_sam.scenes import load_draws
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import WindowGrid, assign, owner_map, visible_pixels
from paperlib.pedsam.split.schedule import rounds
from paperlib.pedsam.split.worker import WindowBlocks

# %% [markdown]
# ## Blocks that need no neighbours
#
# SAM's image encoder is a ViT whose blocks attend inside windows, but for a few that attend
# globally. A windowed block needs nothing from outside its window; LayerNorm, MLP and residuals
# work token by token. So a run of windowed blocks can be computed on windows that lie on different
# machines. The trusted edge device runs the global blocks itself. In SAM's own order that makes
# one exchange with the servers, a *round*, before each global block:

# %% tags=["nbval-check-output"]
with torch.device("meta"):  # sizes without weights
    encoders = {name: build_sam(name).image_encoder for name in ("sam-small", *PUBLISHED)}
rows = []
for name, encoder in encoders.items():
    grid = WindowGrid.from_encoder(encoder)
    for number, turn in enumerate(rounds(encoder, "exact")):
        blocks = {"servers run": turn.server_blocks, "edge runs": turn.edge_blocks}
        blocks = {who: " ".join(map(str, which)) for who, which in blocks.items()}
        sent = "pixels" if turn.pixels else "tokens"
        rows.append({"SAM": name, "windows": grid.count, "round": number, "sent": sent} | blocks)
pd.DataFrame(rows).set_index(["SAM", "windows", "round"])

# %% [markdown]
# Windows at the right and bottom are filled up with padding, which SAM sets to zero after the first
# LayerNorm and which takes part in attention as keys. Servers make it again; it never travels.
#
# ## Who gets which window
#
# Three assignments: *contiguous* blocks; *interleaved*, so that neighbours go to different servers;
# and *random*, drawn from a secret of the edge, never from the image.

# %%
sam = load_sam("sam-small")
grid = WindowGrid.from_encoder(sam.image_encoder)
drawn = load_draws(dataset, 1, 1, seed)
image = drawn.images[0][0].float() / 255
patch = image.shape[-1] // grid.tokens
side = f"{grid.window} × {grid.window}"
print(f"{drawn.source}: {tuple(image.shape)}; {grid.count} windows of {side} tokens")

# %%
kinds, servers, secret = ["contiguous", "interleaved", "random"], [2, 4, 8, 16], b"of the edge"
chosen = {
    (k, kind): assign(kind, grid.count, k, grid, secret) for k in servers[:3] for kind in kinds
}

# %%
figure, axes = plt.subplots(3, 3, figsize=(7, 7.2))
for ax, ((k, kind), assignment) in zip(axes.flat, chosen.items(), strict=True):
    owner = owner_map(grid, assignment, patch)
    assignment_map(ax, image, owner, patch * grid.window, f"{kind}, {k} servers")
    ax.title.set_fontsize(10)
values = pd.DataFrame(
    [
        {"servers": k, "assignment": kind, "window": window, "server": server}
        for (k, kind), assignment in chosen.items()
        for window, server in enumerate(assignment)
    ]
)
run.save_figure(figure, "assignments", values)

# %% [markdown]
# What each of four servers gets, assignment by assignment, and what it can see of the image:

# %%
figure, axes = plt.subplots(3, 4, figsize=(7, 5.6))
rows = []
for line, kind in zip(axes, kinds, strict=True):
    seen = [visible_pixels(grid, chosen[4, kind], {server}, patch) for server in range(4)]
    shares = [mask.float().mean().item() for mask in seen]
    titles = [f"server {k}: {100 * share:.0f} %" for k, share in enumerate(shares)]
    image_row(line, torch.stack([image * mask for mask in seen]), titles, kind)
    rows += [{"assignment": kind, "server": k, "share": share} for k, share in enumerate(shares)]
for ax in axes.flat:
    ax.title.set_fontsize(9)
run.save_figure(figure, "views", pd.DataFrame(rows))

# %% [markdown]
# In JupyterLab, choose for yourself. (On a page, and in batch, this cell shows nothing.)

# %%
if run.interactive:
    display(explorer(image, grid))

# %% [markdown]
# ## Neighbours apart
#
# What a server could continue from one window into the next is the more, the more often it gets
# both. The share of pairs of neighbouring windows that lie on one server:

# %%
rows = []
for kind in kinds:
    for k in servers:
        pairs = [
            window_neighbours(grid, assign(kind, grid.count, k, grid, secret, frame))
            for frame in range(run.sizes.frames if kind == "random" else 1)
        ]
        rows.append({"assignment": kind, "servers": k, "share": sum(pairs) / len(pairs)})
neighbours = pd.DataFrame(rows)
neighbours.pivot(index="servers", columns="assignment", values="share").round(3)

# %%
figure, ax = plt.subplots(figsize=(6, 3.3))
for kind, part in neighbours.groupby("assignment", sort=False):
    ax.plot(part.servers, part.share, "o-", label=kind)
ax.set(xscale="log", xticks=servers, xticklabels=servers, xlabel="servers")
ax.set(ylabel="neighbouring windows\non one server (share)", ylim=(-0.03, 1))
ax.minorticks_off()
ax.legend()
run.save_figure(figure, "neighbours", neighbours)

# %% [markdown]
# ## One image over real servers
#
# Sixteen processes on this machine, gRPC between them and this one, which is the edge: for every
# assignment and every number of servers it has one image encoded. The edge enters each window that
# it is about to send in its *exposure ledger*, which refuses one that a server may not see.

# %%
worker = WindowBlocks(sam.image_encoder)
x = sam.preprocess(255 * image[None])
ours, ledgers = {}, {}
with local_servers(max(servers), ["--sam", "sam-small"]) as started, torch.inference_mode():
    names = {server.address: number for number, server in enumerate(started)}
    for kind, k in itertools.product(kinds, servers):
        chosen_servers = list(names)[:k]
        with EdgeCompute(worker, chosen_servers, assignment=kind, secret=secret) as edge:
            ours[kind, k] = PartitionedEncoder(sam.image_encoder, edge)(x)
        ledgers[kind, k] = edge.ledger
    logs = [json.loads(line) for line in started[0].log.read_text().splitlines()]

# %% [markdown]
# The ledger of four servers with a random assignment: the windows that each got in each round.

# %%
sent = ledgers["random", 4].table()
sent = sent.assign(server=sent.server.map(names))
sent.groupby(["server", "round"]).window.agg(lambda windows: " ".join(map(str, windows))).unstack()

# %% [markdown]
# What a server logs of a call: sizes and outcomes, no content.

# %%
entry = next(line for line in logs if line["event"] == "compute")
{key: entry[key] for key in ("event", "status", "blocks", "windows", "bytes_in", "bytes_out")}

# %% [markdown]
# The embedding is SAM's own, up to rounding in floating point:

# %% tags=["nbval-check-output"]
with torch.inference_mode():
    own = sam.image_encoder(x)
difference = max((each - own).abs().max().item() for each in ours.values())
print("largest difference from SAM's encoder below 1e-4:", difference < 1e-4)

# %% [markdown]
# ## No server gets the image
#
# The largest share of the image's pixels that any server was sent, all rounds together, by the
# ledgers:

# %%
rows = []
for (kind, k), ledger in ledgers.items():
    windows = ledger.table().groupby("server").window.unique()
    pixels = max(len(grid.rows(list(each))) for each in windows) / grid.tokens**2
    rows.append({"assignment": kind, "servers": k, "pixels": pixels})
shares = pd.DataFrame(rows)
shares.pivot(index="servers", columns="assignment", values="pixels").round(3)

# %%
scale = "1 image, 4 numbers of servers, 3 assignments"
run.check("pedsam-no-server", shares.pixels.max(), scale=scale, source=drawn.source)
run.check("pedsam-exact", 1e6 * difference, scale=scale, source=drawn.source)

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **Deviations and limits.** That no server holds the image is true by construction; what it can
# make of its part is the question of notebook 8. The small SAM has 16 windows where the published
# ones have 25, so 2, 4, 8 and 16 servers stand for the paper's schemes. The windows at the right
# and bottom are smaller, so equal numbers of windows are not equal shares of the image.
