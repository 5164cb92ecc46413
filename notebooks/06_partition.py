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
# | smoke, default | OpenMoji scenes, drawn here | under 1.6 GB | none | CPU, one core |
# | paper | photographs | under 1.5 GB | none | CPU, one core |
#
# *Measured when published: default 60 s of one core, 1490 MB; paper 59 s, 1482 MB.*
#
# It stays on the CPU: servers are processes of this machine, a core each, and so is the edge. For
# photographs, name a folder of images (BSDS500, or any other):
# `PAPERLIB_PHOTOGRAPHS=/path/to/folder`.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, photographs

# %%
from paperlib.notebook.start import start
from paperlib.pedsam import sizes

run = start("06_partition", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import pandas as pd
import torch
from IPython.display import display
from segment_anything.utils.transforms import ResizeLongestSide

from paperlib.data.photographs import free_photograph
from paperlib.models.sam import PUBLISHED, build_sam, load_sam
from paperlib.notebook.words import counted, number, ranked
from paperlib.pedsam import encoding, exposure, plots
from paperlib.pedsam.explorer import explorer
from paperlib.pedsam.small_sam.scenes import load_draws
from paperlib.pedsam.split.partition import WindowGrid
from paperlib.seeds import derive

# %% [markdown]
# ## Blocks that need no neighbours
#
# A ViT (vision transformer) cuts an image into patches and turns each into a vector, its *token*.
# In *attention* every token takes up something of the others; the rest of a block treats tokens one
# by one.
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
# SAM also fills up the picture itself, with zeros, to a square. Of a 16:9 photograph, ten of the
# published SAMs' 25 windows hold nothing else. They are no part of the picture, so they count for
# nothing when shares are measured, and they stay on the edge: before the first global block they
# are the same for every picture of a size, so they are computed once; after it they are not, as
# every token has then attended to the picture.
#
# ## Who gets which window
#
# Three assignments: *contiguous* blocks; *interleaved*, so that neighbours go to different servers;
# and *random*: in a secret order, each window goes to the server with the least of the picture so
# far. The order comes from a hash of the image, keyed with a secret that the edge alone has: the
# same picture is dealt alike again, and without the secret the order tells nothing. Of a picture of
# $T$ pixels whose largest window has $m$ of them, no assignment gives one of $k$ servers more than
#
# $$\frac{1}{k}\,T + \Bigl(1 - \frac{1}{k}\Bigr)\,m.$$
#
# There always is a server that a window can go to: if each had more than that bound less the
# window, all together would have more than there is. A picture that fits into one window has no
# such share: it stays on the edge.

# %%
sam = load_sam("sam-small")
grid = WindowGrid.from_encoder(sam.image_encoder)
drawn = load_draws(dataset, 1, 1, seed)
image = drawn.images[0]

# %%
side = f"{grid.window} × {grid.window}"
print(f"{drawn.source}: {tuple(image.shape)}; {grid.count} windows of {side} tokens")

# %%
secret, patch = derive(seed, "secret").to_bytes(8), image.shape[-1] // grid.tokens
windows = encoding.assignments(grid, sorted(run.sizes.sharing)[:3], secret, patch)
pixels = {"image": image[0].permute(1, 2, 0).numpy()}
run.save_figure(plots.assignments, windows, pixels)

# %% [markdown]
# Windows of one colour go to one server. At the left neighbours stay together, in the middle they
# are parted, at the right chance decides; from top to bottom there are more servers. A whole object
# in one colour is an object that somebody sees.
#
# What each of four servers gets, assignment by assignment, and what it can see of the image:

# %%
run.save_figure(plots.views, encoding.assignments(grid, [4], secret, patch), pixels)

# %% [markdown]
# Black is what a server never gets; the number is its share of the pixels. Shares differ because
# the windows at the right and at the bottom are smaller. Equal shares do not show equally much:
# that hangs on where the object lies, and on how much of it stays together.
#
# A photograph is seldom square. SAM gives its longer side the encoder's size, and what fills up the
# rest stays on the edge:

# %%
photograph = ResizeLongestSide(image.shape[-1]).apply_image(free_photograph("chelsea"))
cut = encoding.assignments(grid, [4], secret, patch, photograph.shape[:2])
run.save_figure(plots.photograph_views, cut, {"image": photograph})

# %%
largest = ranked(100 * cut.groupby("assignment", sort=False).share.max(), unit=" %")
run.say(f"Largest share of the cat for one of four servers, in percent of its pixels: {largest}.")
run.say(f"The bound is {number(100 * cut.bound.max())} %.")

# %% [markdown]
# Shares are of the photograph, not of the square. What a share tells depends on where its windows
# lie: in contiguous blocks they join to a part of the face, where neighbours are apart the face
# comes in scraps, and in a random order some may join by chance. Yet a single window with an eye in
# it says that this is a cat: a small share is no promise that nothing is recognised.
#
# In JupyterLab, choose for yourself. (On a page, and in batch, this cell shows nothing.)

# %%
if run.interactive:
    display(explorer(pixels["image"], grid))

# %% [markdown]
# Whoever plays with it looks for an object that one server gets whole: with few servers in
# contiguous blocks that is easy to find, with neighbours apart an object has to be smaller than a
# window.
#
# ## Neighbours apart
#
# What a server could continue from one window into the next is the more, the more often it gets
# both. The share of pairs of neighbouring windows that lie on one server:

# %%
neighbours = encoding.neighbours_table(grid, run.sizes.sharing, secret, run.sizes.frames)
neighbours.pivot(index="servers", columns="assignment", values="share").round(3)

# %%
run.save_figure(plots.neighbours, neighbours)

# %% [markdown]
# At zero no server ever gets two windows side by side, so it has nothing to continue from one into
# the next. Contiguous blocks are the other extreme, and the random assignment lies where chance
# puts it. Its advantage is another: an interleaved one is the same for every image and so can be
# known to everyone, the random one is secret.
#
# ## One image over real servers, in eight shapes
#
# Sixteen processes on this machine, gRPC between them and this one, which is the edge: for every
# assignment and every number of servers it has an image encoded, cut to shapes from 20:1 to 1:20.
# The edge enters each window that it is about to send in its *exposure ledger*, which refuses one
# that a server may not see.

# %%
servers = run.sizes.sharing
encoded = encoding.encode_over_servers("sam-small", sam, image.float(), servers, secret)

# %% [markdown]
# The ledger of four servers with a random assignment of the square image: the windows that each got
# in each round.

# %%
sent = encoded.ledgers["random", 4]
sent.groupby(["server", "round"]).window.agg(lambda windows: " ".join(map(str, windows))).unstack()

# %% [markdown]
# What a server logs of a call: sizes and outcomes, no content.

# %%
entry = next(line for line in encoded.log if line["event"] == "compute")
{key: entry[key] for key in ("event", "status", "blocks", "windows", "bytes_in", "bytes_out")}

# %% [markdown]
# The embedding is SAM's own, up to rounding in floating point, whatever the shape:

# %% tags=["nbval-check-output"]
difference = encoded.difference
print("largest difference from SAM's encoder below 1e-4:", difference < 1e-4)

# %% [markdown]
# That so small a difference means equal has to be shown. Three splits of the square image that are
# not exact: two tokens change places, tokens come back in 16 bits, or all windowed blocks run
# before all global ones (*pixels once*, notebook 7). Largest differences, in millionths:

# %%
others = {name: 1e6 * each for name, each in encoding.inexact_splits(sam, image.float()).items()}
pd.Series({"exact": 1e6 * difference} | others, name="largest difference (10⁻⁶)").round(1)

# %%
above = counted(each > 100 for each in others.values())
run.say(f"Of splits that are not exact, above the limit of 100: {above}.")

# %% [markdown]
# ## No server gets the image
#
# The largest share of the picture's pixels that any server was sent, all rounds together, by the
# ledgers; of three assignments the largest. Beside it the bound. A picture of 20:1 has four
# windows, so that four servers and more get one each; of 1:20 the interleaved assignment gives one
# of four servers two of them, and another none.

# %%
shares = encoded.shares
largest = shares.pivot_table(["share", "bound"], "shape", "servers", "max", sort=False)
largest.round(3)

# %%
scale = f"1 image in {len(largest)} shapes, {len(servers)} numbers of servers, 3 assignments"
run.check("pedsam-no-server", shares.share.max(), scale=scale, source=drawn.source)
run.check("pedsam-bound", (shares.share - shares.bound).max(), scale=scale, source=drawn.source)

# %%
note = "not exact: " + ", ".join(f"{name} {number(each, 3)}" for name, each in others.items())
run.check("pedsam-exact", 1e6 * difference, scale=scale, source=drawn.source, note=note)

# %% [markdown]
# ## One picture, many encodings
#
# SAM finds everything in a picture by encoding it whole and then in overlapping crops, four in the
# first layer and sixteen in the second. A crop is a picture of its own to an edge that is not told
# better, so a server may get the left of the sky in one encoding and its right in the next. The
# caller can *open* a picture: then whatever is encoded adds up in its pixels, a window goes to the
# server that has seen most of it already, and what would lift a server over the bound of the whole
# picture is computed on the edge.

# %%
large = torch.nn.functional.interpolate(image.float()[..., :240, :], (480, 640), mode="bilinear")
photograph = large[0].permute(1, 2, 0).byte().numpy()
crops = exposure.crops_table("sam-small", sam, photograph, (2, 4), run.sizes.layers, secret)

# %%
rows = ["servers", "layers of crops", "encodings", "bound"]
crops.pivot(index=rows, columns="picture", values=["share", "edge"]).round(3)

# %% [markdown]
# Left the largest share of the picture's 640 × 480 pixels that a server was sent; right the share
# of the content of all encodings that stayed on the edge, which is the price.

# %%
opened, closed = (crops[(crops.picture == "open") == kind] for kind in (True, False))
over = (closed.share - closed.bound).max()
note = f"of a picture that is not opened, a server is sent {number(over)} more than the bound"

# %%
scale = f"1 image, 2 and 4 servers, {opened.encodings.max()} encodings"
told = {"scale": scale, "source": drawn.source, "note": note}
run.check("pedsam-crops", (opened.share - opened.bound).max(), **told)

# %% [markdown]
# ## Servers that lie
#
# A reply must be finite, of the right shape, and within the range that the weights allow: LayerNorm
# bounds what a block can add to a token. That stops what would break SAM's decoder, not a server
# that answers with zeros. So the edge computes $r$ of the $n$ windows of an image once more,
# drawn at random, and no server learns which. If $m$ are false, it notices with probability
#
# $$1 - \binom{n - m}{r} \Big/ \binom{n}{r}.$$
#
# Measured with a server that answers with zeros for $m$ of the 16 windows, in one round; and what
# the checks cost the edge.

# %%
x = sam.preprocess(image.float())
checks = exposure.checks_table(sam.image_encoder, x, run.sizes.trials, secret)
checks.set_index(["false", "checked"]).round(3)

# %%
off = (checks.measured - checks.formula).abs().max()
scale = f"{run.sizes.trials} rounds in each of {len(checks)} settings"
run.check("pedsam-spot-checks", off, scale=scale, source=drawn.source)

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **The question answered.** The edge cuts the image along the windows in which SAM's encoder
# attends, and sends each server some of them. No server is sent the whole, since the ledger refuses
# it, and the result is SAM's own up to rounding, because a windowed block needs nothing from
# outside its window. What a server can make of its part is another question, that of notebook 8.
#
# **Deviations and limits.** That no server holds the image is true by construction; what it can
# make of its part is the question of notebook 8. The small SAM has 16 windows where the published
# ones have 25, so 2, 4, 8 and 16 servers stand for the paper's schemes. That filling up stays on
# the edge, and the bound, are ours; the paper does not say what it does with padding. A frame or a
# wall of one colour is part of the picture here: a server that gets mostly that has got less than
# its share says.
