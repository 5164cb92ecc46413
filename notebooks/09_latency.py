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
# | default | small, and ViT-B with random weights | under 3 GB | none | CPU, one core |
# | paper | the same, and SAM's own encoder of ViT-B | under 6 GB | none | CPU, one core |
#
# Speed does not depend on the weights, nor on what an image shows. Times are those of the machine
# that runs this; in the committed notebook a virtual machine with two cores. `run_all.sh` prints
# the time and the peak of memory of every run.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images
dataset = "openmoji"  # openmoji

# %%
from paperlib.notebook.start import start
from paperlib.pedsam import sizes

run = start("09_latency", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import itertools

import matplotlib.pyplot as plt
import pandas as pd
import torch

from paperlib.models.sam import build_sam
from paperlib.notebook.figures import BLUE, GREY, ORANGE
from paperlib.pedsam.remote import latency
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.latency import NETWORKS
from paperlib.pedsam.remote.processes import servers_of
from paperlib.pedsam.small_sam.scenes import unseen_scenes
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.worker import WindowBlocks
from paperlib.runtime import peak_memory

torch.set_num_threads(1)  # the edge has one core, and so has every server

# %% [markdown]
# ## Measured
#
# CPU seconds of the edge and of the busiest server, and bytes of all servers together, for each
# round. `edge` is everything that the edge does itself: cutting, serialising, checking what comes
# back, global blocks and neck. Of the servers, each on one thread, the busiest counts, for they
# work side by side. Beside it the whole encoder in one process: segment_anything's own, and ours
# with fused attention.

# %%
sams = {}
for name in run.sizes.images:
    torch.manual_seed(seed)
    sams[name] = build_sam(name)

# %%
inputs = {}
for name, sam in sams.items():
    images = unseen_scenes(run.sizes.images[name], seed).float()
    size = sam.image_encoder.img_size
    images = torch.nn.functional.interpolate(images, size=size, mode="bilinear")
    inputs[name] = sam.preprocess(images)

# %%
seconds = {}
for name, sam in sams.items():
    encoders = {"ours": PartitionedEncoder(sam.image_encoder)}
    if name in run.sizes.compared:
        encoders["segment_anything"] = sam.image_encoder
    seconds[name] = latency.encoder_seconds(encoders, inputs[name]).median()

# %%
whole = pd.DataFrame(seconds).T.rename_axis("SAM")
whole.assign(ratio=whole["segment_anything"] / whole["ours"]).round(3)

# %%
cases = [("exact", form) for form in ("float32", "float16", "int8")] + [("pixels_once", "int8")]
parts, memory = [], []
for name, sam in sams.items():
    encoder = sam.image_encoder
    with servers_of(sam, name, max(run.sizes.servers[name])) as servers:
        for k, (schedule, form) in itertools.product(run.sizes.servers[name], cases):
            addresses = [server.address for server in servers[:k]]
            with EdgeCompute(WindowBlocks(encoder), addresses, form=form, deadline=600) as edge:
                rounds = latency.measure_rounds(encoder, edge, schedule, inputs[name])
            setting = {"SAM": name, "schedule": schedule, "format": form, "servers": k}
            parts.append(rounds.assign(**setting))
        peak = max(server.peak_memory() for server in servers)
        memory.append({"SAM": name, "a server": peak, "the edge": peak_memory()})
measured = pd.concat(parts)

# %% [markdown]
# An image, all rounds together. `wall` is the time that it took here, where edge and servers share
# two cores over loopback.

# %%
keys = ["SAM", "schedule", "format", "servers"]
numbers = ["edge", "server", "bytes_up", "bytes_down"]
images = measured.groupby([*keys, "image"], sort=False)
total = images[numbers].sum().join(images[["wall"]].first())
total = total.groupby(keys, sort=False).median()

# %%
megabytes = {f"MB {way}": total[f"bytes_{way}"] / 1e6 for way in ("up", "down")}
total.assign(**megabytes).drop(columns=["bytes_up", "bytes_down"]).round(3)

# %% [markdown]
# Round by round, four servers, float32:

# %%
mine = measured.query("schedule == 'exact' and format == 'float32'")
mine = mine[mine.servers == 4]
by_round = mine.groupby(["SAM", "round"], sort=False)[numbers].median()
by_round.round(4)

# %%
figure, axes = plt.subplots(1, len(sams), figsize=(7, 3.2), squeeze=False)
for ax, name in zip(axes[0], sams, strict=True):
    part = total.xs((name, 4), level=("SAM", "servers"))
    labels = [f"{schedule}, {form}".replace("pixels_once", "once") for schedule, form in part.index]
    place = range(len(part) + 1)
    alone = whole.loc[name, "ours"]
    ax.barh(place, [alone, *part.edge], color=BLUE, label="edge")
    ax.barh(place[1:], part.server, left=part.edge, color=ORANGE, label="busiest server")
    ax.set(yticks=place, yticklabels=["edge alone", *labels], title=name, xlabel="CPU seconds")
    ax.invert_yaxis()
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
run.save_figure(figure, "stages", total.reset_index())

# %% [markdown]
# ## What splitting costs in all
#
# CPU time of all processes together, in milliseconds for each image, beside that of SAM's own
# encoder: the exact schedule in float32, images one by one and several in a request. `ratio` is
# edge and servers against SAM's own. Our attention is faster than SAM's, which pays for cutting and
# sending. But every request has a fixed price: gRPC on both sides, and few windows at a time use a
# core less well. A small model on several servers feels it when images come one by one; with
# ViT-B, where a request computes for a second, it is nothing.

# %%
rows, name = [], "sam-small"
x, encoder = inputs[name], sams[name].image_encoder
worker = WindowBlocks(encoder)
together = min(len(x), worker.grid.batch)
with servers_of(sams[name], name, 4) as servers:
    for k, n in itertools.product((1, 4), (1, together)):
        addresses = [server.address for server in servers[:k]]
        with EdgeCompute(worker, addresses) as edge:
            spent = latency.cpu_of_all(encoder, edge, servers[:k], x[:n], run.sizes.turns // n)
        rows.append({"number of servers": k, "images together": n} | spent)

# %%
spent = pd.DataFrame(rows).set_index(["number of servers", "images together"])
ratio = (spent.edge + spent.servers) / spent.own
(1e3 * spent).round(1).assign(ratio=ratio.round(2))

# %% [markdown]
# ## Memory
#
# Largest resident memory so far, in MB. Servers of one machine share the memory of torch and of the
# weights, and each counts it.

# %%
(pd.DataFrame(memory).set_index("SAM") / 2**20).round(0)

# %% [markdown]
# ## Modelled
#
# $$T = \sum_r \Bigl(f e_r + t + \frac{8 u_r}{b_u} + \max_k s_{rk} + \frac{8 d_r}{b_d}\Bigr)$$
#
# with the measured seconds $e_r$, $s_{rk}$ and bytes $u_r$, $d_r$ of round $r$; the bandwidths
# $b_u$, $b_d$ and the round trip $t$ of a network, which are assumptions; and cores that are $f$
# times slower on the edge than on the servers. Plain cloud sends the image as it is to one server.

# %%
pd.DataFrame(NETWORKS).rename(columns={"up": "up, Mbit/s", "down": "down, Mbit/s"})

# %%
rows = []
for name, sam in sams.items():
    seconds, here = whole.loc[name, "ours"], measured.query("SAM == @name")
    for network, f in itertools.product(NETWORKS, run.sizes.edge_factors):
        setting = {"SAM": name, "network": network.name, "edge slower by": f}
        alone = {"edge": f * seconds, "servers": 0.0, "transfer": 0.0}
        rows.append(setting | {"case": "edge alone"} | alone)
        cloud = latency.plain_cloud(seconds, sam.image_encoder, "float16", network)
        rows.append(setting | {"case": "plain cloud"} | cloud)
        for schedule, form in cases:
            split = here.query("schedule == @schedule and format == @form")
            split = split[split.servers == 4]
            parts = latency.modelled(split.drop(columns=keys), network, f)
            rows.append(setting | {"case": f"{schedule}, {form}".replace("_", " ")} | parts)

# %%
modelled = pd.DataFrame(rows)
modelled["seconds"] = modelled[["edge", "servers", "transfer"]].sum(axis=1)

# %% [markdown]
# Seconds of one image, modelled:

# %%
order = ["SAM", "edge slower by", "case"]
modelled.pivot_table("seconds", order, "network", sort=False).round(3)

# %%
slow = max(run.sizes.edge_factors)
shown = modelled[modelled["edge slower by"].eq(slow)]
figure, axes = plt.subplots(len(sams), len(NETWORKS), figsize=(8, 2.6 * len(sams)), squeeze=False)
for (name, network), part in shown.groupby(["SAM", "network"], sort=False):
    row, column = list(sams).index(name), [each.name for each in NETWORKS].index(network)
    ax, left = axes[row, column], 0.0
    for stage, colour in {"edge": BLUE, "servers": ORANGE, "transfer": GREY}.items():
        ax.barh(part.case, part[stage], left=left, color=colour, label=stage)
        left = left + part[stage].to_numpy()
    ax.invert_yaxis()
    ax.set(title=f"{name}, {network}", xlabel="seconds, modelled")
    ax.title.set_fontsize(10)
    if column:
        ax.set_yticklabels([])
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
run.save_figure(figure, "modelled", modelled)

# %% [markdown]
# How to read it. The exact schedule moves every token up and down in each round. With the small
# SAM, whose blocks are quick, the network then decides: on a slow link the edge alone is faster,
# and only the pixels-once schedule, with its single exchange, pays early. With ViT-B at 1024 ×
# 1024 computing decides. But the global blocks, which stay on the edge, are about half of it on a
# CPU, so splitting gains twofold at most, whatever the network. Plain cloud is the fastest
# wherever the edge is slow, for it sends the least and computes nothing there. That is the price
# of not showing the image to anyone.
#
# **Deviations and limits.** The paper measured phones and boards; here edge and servers are
# processes of one machine, and a slower edge is a factor. Compute is CPU time on one thread: a
# server with a GPU would be far faster, and the comparison would shift towards the network. Real
# networks vary; TLS and lost packets are not in the model. Pixels travel as normalised numbers in
# the format of the wire; an edge could send 8-bit pixels in a quarter of the bytes of float32.
