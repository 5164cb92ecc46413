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
# | paper | photographs | under 1.5 GB | none | CPU, one core |
#
# It stays on the CPU: servers are processes of this machine, a core each, and so is the edge.
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
import torch
from IPython.display import display

from paperlib.models.sam import PUBLISHED, build_sam, load_sam
from paperlib.pedsam import encoding, plots
from paperlib.pedsam.explorer import explorer
from paperlib.pedsam.small_sam.scenes import load_draws
from paperlib.pedsam.split.partition import SERVERS, WindowGrid
from paperlib.seeds import derive

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
encoding.rounds_table(encoders)

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
image = drawn.images[0]
side = f"{grid.window} × {grid.window}"
print(f"{drawn.source}: {tuple(image.shape)}; {grid.count} windows of {side} tokens")

# %%
secret, patch = derive(seed, "secret").to_bytes(8), image.shape[-1] // grid.tokens
windows = encoding.assignments(grid, SERVERS[:3], secret, patch)
pixels = {"image": image[0].permute(1, 2, 0).numpy()}
run.save_figure(plots.assignments, windows, pixels)

# %% [markdown]
# What each of four servers gets, assignment by assignment, and what it can see of the image:

# %%
run.save_figure(plots.views, windows[windows.servers == 4], pixels)

# %% [markdown]
# In JupyterLab, choose for yourself. (On a page, and in batch, this cell shows nothing.)

# %%
if run.interactive:
    display(explorer(pixels["image"], grid))

# %% [markdown]
# ## Neighbours apart
#
# What a server could continue from one window into the next is the more, the more often it gets
# both. The share of pairs of neighbouring windows that lie on one server:

# %%
neighbours = encoding.neighbours_table(grid, SERVERS, secret, run.sizes.frames)
neighbours.pivot(index="servers", columns="assignment", values="share").round(3)

# %%
run.save_figure(plots.neighbours, neighbours)

# %% [markdown]
# ## One image over real servers
#
# Sixteen processes on this machine, gRPC between them and this one, which is the edge: for every
# assignment and every number of servers it has one image encoded. The edge enters each window that
# it is about to send in its *exposure ledger*, which refuses one that a server may not see.

# %%
x = sam.preprocess(image.float())
encoded = encoding.encode_over_servers("sam-small", sam.image_encoder, x, SERVERS, secret)

# %% [markdown]
# The ledger of four servers with a random assignment: the windows that each got in each round.

# %%
sent = encoded.ledgers["random", 4]
sent.groupby(["server", "round"]).window.agg(lambda windows: " ".join(map(str, windows))).unstack()

# %% [markdown]
# What a server logs of a call: sizes and outcomes, no content.

# %%
entry = next(line for line in encoded.log if line["event"] == "compute")
{key: entry[key] for key in ("event", "status", "blocks", "windows", "bytes_in", "bytes_out")}

# %% [markdown]
# The embedding is SAM's own, up to rounding in floating point:

# %% tags=["nbval-check-output"]
with torch.inference_mode():
    own = sam.image_encoder(x)
difference = max((each - own).abs().max().item() for each in encoded.embeddings.values())
print("largest difference from SAM's encoder below 1e-4:", difference < 1e-4)

# %% [markdown]
# ## No server gets the image
#
# The largest share of the image's pixels that any server was sent, all rounds together, by the
# ledgers:

# %%
shares = encoding.largest_shares(grid, encoded)
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
