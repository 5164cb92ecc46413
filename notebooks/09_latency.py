# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9 · Latency and bytes
#
# **Question.** Where do the time and the bytes of one image go, and when does splitting beat
# computing on the edge alone?
#
# **In the paper.** Ding et al., [arXiv 2512.09309](https://arxiv.org/abs/2512.09309), report the
# latency on constrained edges; no value could be read. Here every stage is **measured** over real
# gRPC servers on this machine, and end-to-end times for some networks are composed from that:
# these are **modelled** and say so.
#
# | profile | SAM | memory | download | device |
# |---|---|---|---|---|
# | smoke | our small SAM | under 1.5 GB | none | CPU, one core |
# | default | small, and ViT-B with random weights | under 1.7 GB | none | CPU, one core |
# | paper | the same, and SAM's own encoder of ViT-B | under 6 GB | none | CPU, one core |
#
# *Measured when published: default 3 minutes of one core, 1449 MB; paper 16 minutes, 3447 MB.*
#
# It stays on the CPU, because CPU seconds are what it measures.
#
# Speed does not depend on the weights, nor on what an image shows. Times are those of the machine
# that runs this; in the committed notebook a virtual machine with two cores.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images
dataset = "openmoji"  # openmoji

# %%
from paperlib.notebook.start import start
from paperlib.pedsam import sizes

run = start("09_latency", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import pandas as pd
import torch

from paperlib.models.sam import RandomSams, prepared
from paperlib.notebook.words import compared, counted, number
from paperlib.pedsam.remote import latency, network, plots
from paperlib.pedsam.small_sam.scenes import unseen_scenes
from paperlib.seeds import derive

torch.set_num_threads(1)  # the edge has one core, and so has every server

# %% [markdown]
# ## Measured
#
# The *edge* is the device that has the image; the *servers* compute parts of the encoder for it.
# They speak gRPC, a protocol by which a process calls another one over the network, as in the
# paper. Of the small SAM each is a process of its own; where the sizes say so, ViT-B's are threads
# of the edge's process, since two processes with its weights would not fit a small machine. What is
# sent and what each side computes is the same.
#
# CPU seconds of the edge and of the busiest server, and bytes of all servers together, for each
# round. `edge` is everything that the edge does itself: cutting, serialising, checking what comes
# back, global blocks and neck. Of the servers, each on one thread, the busiest counts, for they
# work side by side. Beside it the whole encoder in one process: segment_anything's own, and ours
# with fused attention.

# %%
sams = RandomSams(run.sizes.images, derive(seed, "weights"))

# %%
inputs = {
    name: prepared(sam, unseen_scenes(run.sizes.images[name], derive(seed, "scenes")))
    for name, sam in sams.items()
}

# %%
whole = latency.whole_seconds(sams, inputs, run.sizes.compared)
whole.assign(ratio=whole["segment_anything"] / whole["ours"]).round(3)

# %%
measured, memory = latency.measure_cases(sams, inputs, run.sizes.servers, run.sizes.threads)

# %% [markdown]
# An image, all rounds together. `wall` is the time that it took here, where edge and servers share
# two cores over loopback.

# %%
total = latency.totals(measured)

# %%
megabytes = {f"MB {way}": total[f"bytes_{way}"] / 1e6 for way in ("up", "down")}
total.assign(**megabytes).drop(columns=["bytes_up", "bytes_down"]).round(3)

# %% [markdown]
# Round by round, four servers, float32:

# %%
one = measured.query("schedule == 'exact' and format == 'float32' and servers == 4")
one.groupby(["SAM", "round"], sort=False)[latency.SPENT].median().round(4)

# %%
run.save_figure(plots.stages, latency.stages(total, whole["ours"]))

# %% [markdown]
# The first bar of a panel is the edge alone, without servers. A split pays, before any network is
# counted, if its bar is shorter than that one. Its blue part is what no number of servers takes
# away: the global blocks, and the work of cutting, sending and checking.

# %%
for name, edge in total.xs(("exact", "float32", 4), level=latency.KEYS[1:]).edge.items():
    share = number(100 * edge / whole.ours[name])
    run.say(f"{name}: of the time of the edge alone, {share} % stay on the edge of four servers.")

# %% [markdown]
# ## What splitting costs in all
#
# CPU time of all processes together, in milliseconds for each image, beside that of SAM's own
# encoder: the exact schedule in float32, images one by one and several in a request. `ratio` is
# edge and servers against SAM's own. Every request has a fixed price: gRPC on both sides, and few
# windows at a time use a core less well. A small model on several servers feels it when images come
# one by one; a large one, of which a request computes for more than half a second, feels it less;
# the table is of the small one.

# %%
moved = {
    name: network.plain_cloud_bytes(sam.image_encoder, "float16") for name, sam in sams.items()
}
small = "sam-small"
spent = latency.cpu_by_servers(small, sams[small], inputs[small], run.sizes.turns)

# %%
ratio = (spent.edge + spent.servers) / spent.own
(1e3 * spent).round(1).assign(ratio=ratio.round(2))

# %%
single, several = ratio.loc[4].iloc[[0, -1]]
words = compared(single, several, same="as")
run.say(f"Edge and four servers, multiples of SAM's own time: {words} with images together.")

# %% [markdown]
# ## Memory
#
# Largest resident memory so far, in MiB. Server processes of one machine share the memory of torch
# and of the weights, and each counts it here (the line at the top counts a page once); servers that
# are threads have theirs in the edge's.

# %%
(memory / 2**20).round(0)

# %% [markdown]
# ## Modelled
#
# $$T = \sum_r \Bigl(f e_r + t + \frac{8 u_r}{b_u} + \max_k s_{rk} + \frac{8 d_r}{b_d}\Bigr)$$
#
# with the measured seconds $e_r$, $s_{rk}$ and bytes $u_r$, $d_r$ of round $r$; the bandwidths
# $b_u$, $b_d$ and the round trip $t$ of a network, which are assumptions; and cores that are $f$
# times slower on the edge than on the servers. Plain cloud sends the image as it is to one server.

# %%
pd.DataFrame(network.NETWORKS).rename(columns={"up": "up, Mbit/s", "down": "down, Mbit/s"})

# %%
modelled = network.modelled_cases(measured, whole["ours"], moved, run.sizes.edge_factors)

# %% [markdown]
# Seconds of one image, modelled:

# %%
order = ["SAM", "edge slower by", "case"]
modelled.pivot_table("seconds", order, "network", sort=False).round(3)

# %%
slow = modelled["edge slower by"] == max(run.sizes.edge_factors)
run.save_figure(plots.modelled, modelled[slow])

# %% [markdown]
# How to read it. The exact schedule moves every token up and down in each round, the pixels-once
# schedule has a single exchange. Where grey is the longest part the network decides, as is to be
# expected of a small SAM, whose blocks are quick; where blue is, the global blocks do, which stay
# on the edge and which no network makes shorter. Plain cloud computes nothing on the edge, and of a
# large SAM it moves the least. Where it is ahead, that is the price of not showing the image to
# anyone.

# %%
best = network.fastest(modelled)

# %%
for (factor, name), rows in best.groupby(["edge slower by", "SAM"], sort=False):
    alone = counted(rows.split < rows[latency.ALONE])
    cloud = counted(rows.split < rows[network.CLOUD])
    words = f"splitting beats the edge alone on {alone} networks, plain cloud on {cloud}."
    run.say(f"{name}, edge slower by {factor:g}: {words}")

# %%
slowest = best[best["edge slower by"] == max(run.sizes.edge_factors)]
for name, rows in slowest.groupby("SAM", sort=False):
    parts = "; ".join(f"{row.network}: {row.case}" for row in rows.itertuples())
    run.say(f"The fastest way to split {name} for the slowest edge: {parts}.")

# %% [markdown]
# **The question answered.** Where time and bytes go is in the three colours of the bars: the
# smaller the encoder, the more of it is the network, and what the edge computes itself no server
# takes away. When splitting beats the edge alone, and whether it ever beats showing the whole image
# to one server, is in the lines above.
#
# **Deviations and limits.** The paper measured a constrained edge such as a Jetson; here edge and
# servers are processes and threads of one machine, and a slower edge is a factor. Compute is CPU
# time on one thread: a server with a GPU would be far faster, and the comparison would shift
# towards the network. Real networks vary; TLS and lost packets are not in the model. Pixels travel
# as normalised numbers in the format of the wire; an edge could send 8-bit pixels in a quarter of
# the bytes of float32.
