# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7 · Segmentation over servers
#
# **Question.** How good are SAM's masks when servers run the windowed blocks, by schedule, number
# format on the wire, number of servers and prompt?
#
# **In the paper.** Ding et al., [arXiv 2512.09309](https://arxiv.org/abs/2512.09309): "our
# framework maintains near-baseline segmentation performance". No table value could be read.
#
# | profile | SAM, data | memory | download | device |
# |---|---|---|---|---|
# | smoke, default | our small SAM, OpenMoji scenes drawn here | under 2 GB | none | CPU, one core |
# | paper | ViT-B, COCO val2017 | under 8 GB | SAM's checkpoint, COCO | CPU |
#
# `PAPERLIB_SAM` and `PAPERLIB_COCO` name local copies. `run_all.sh` prints the time and the peak of
# memory of every run.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, coco

# %%
from paperlib.notebook.start import start
from paperlib.pedsam import sizes

run = start("07_segmentation", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from segment_anything import SamAutomaticMaskGenerator

from paperlib.models.sam import load_sam
from paperlib.notebook.figures import mask_overlay
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.small_sam import segmentation
from paperlib.pedsam.small_sam.segmentation import (
    PROMPTS,
    box_prompt,
    iou,
    point_prompts,
    replace_encoder,
)
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.worker import WindowBlocks

# %% [markdown]
# ## Images, objects and prompts
#
# Scenes of one or two objects of classes that the small SAM was not trained on, with their exact
# masks. A prompt is made from the true mask: the box around it; the pixel farthest from its edge;
# or three such pixels.

# %%
sam = load_sam(run.sizes.sam)
drawn = segmentation.load_draws(dataset, run.sizes.images, run.sizes.seeds, seed)
draws, source, scale = drawn.images, drawn.source, drawn.scale
truth = [segmentation.true_masks(images) for images in draws]
print(f"{source}: {scale}, {sum(map(len, truth))} objects")

# %%
example = max(draws[0], key=lambda each: len(each.masks))
mask = example.masks[0]
figure, axes = plt.subplots(1, 3, figsize=(7, 2.6))
prompts = {"box": {"box": box_prompt(mask)}}
prompts |= {f"{n} point{'s' * (n > 1)}": {"points": point_prompts(mask, n)} for n in (1, 3)}
for ax, (name, prompt) in zip(axes, prompts.items(), strict=True):
    mask_overlay(ax, example.image, mask, title=name, **prompt)

# %% [markdown]
# ## SAM, whole
#
# The line to compare with: the same network, its own encoder, in this process.

# %%
own = [segmentation.segment(sam, images) for images in draws]
rows = [
    {"prompt": name, "seed": k, "IoU": iou(answers[name], truth[k]).mean()}
    for k, answers in enumerate(own)
    for name in PROMPTS
]
baseline = pd.DataFrame(rows).pivot(index="prompt", columns="seed", values="IoU").loc[[*PROMPTS]]
baseline.mean(axis=1).to_frame("IoU").round(3)

# %% [markdown]
# ## SAM, split
#
# Real servers in processes of their own, gRPC between them and this process, which is the edge.
# Three things differ: the *schedule* (exact, SAM's own order of blocks; pixels once, all windowed
# blocks first, in one round, with SAM's weights or after distillation), the *format* of numbers on
# the wire, and the number of servers. Everything behind the encoder is segment_anything's
# `SamPredictor`, unchanged.

# %%
cases = [("exact", run.sizes.sam, form, 4) for form in ("float32", "float16", "int8")]
cases += [("exact", run.sizes.sam, "float32", k) for k in run.sizes.servers if k != 4]
cases += [("pixels_once", run.sizes.sam, "float32", 4)]
cases += [
    ("pixels_once", name, form, 4) for name in run.sizes.distilled for form in ("float32", "int8")
]
pd.DataFrame(cases, columns=["schedule", "weights", "format", "servers"])

# %%
answers, traffic = {}, {}
for weights in dict.fromkeys(case[1] for case in cases):
    network = load_sam(weights)
    worker = WindowBlocks(network.image_encoder)
    with local_servers(max(run.sizes.servers), ["--sam", weights]) as servers:
        for case in (case for case in cases if case[1] == weights):
            schedule, _, form, k = case
            addresses = [server.address for server in servers[:k]]
            with EdgeCompute(worker, addresses, form=form, secret=b"of the edge") as edge:
                encoder = PartitionedEncoder(network.image_encoder, edge, schedule)
                split = replace_encoder(network, encoder)
                answers[case] = [segmentation.segment(split, images) for images in draws]
            traffic[case] = edge.table()

# %% [markdown]
# No server failed, so nothing was computed on the edge instead:

# %% tags=["nbval-check-output"]
sorted({status for calls in traffic.values() for status in calls.status})

# %%
rows = []
for case, by_seed in answers.items():
    calls = traffic[case]
    megabytes = (calls.bytes_up.sum() + calls.bytes_down.sum()) / 1e6 / (calls.image.max() + 1)
    for k, found in enumerate(by_seed):
        for name in PROMPTS:
            row = dict(zip(("schedule", "weights", "format", "servers"), case, strict=True))
            row |= {"prompt": name, "seed": k, "MB an image": megabytes}
            row["IoU"] = iou(found[name], truth[k]).mean()
            row["IoU with SAM's mask"] = iou(found[name], own[k][name]).mean()
            rows.append(row)
measured = pd.DataFrame(rows)

# %% [markdown]
# ## Table
#
# Mean IoU with the true masks by prompt, mean IoU with SAM's own masks, and what travels, both
# directions together.

# %%
keys = ["schedule", "weights", "format", "servers"]
table = measured.pivot_table("IoU", keys, "prompt", sort=False)[[*PROMPTS]]
table.loc[("SAM, whole", run.sizes.sam, "–", 0)] = baseline.mean(axis=1)
more = measured.groupby(keys, sort=False)[["IoU with SAM's mask", "MB an image"]].mean()
table.join(more).round(3)

# %%
few = [case for case in cases if case[3] == 4]
labels = {"exact": "exact", "pixels_once": "pixels once"}
figure, ax = plt.subplots(figsize=(7, 3.8))
bars, by_case = {"SAM, whole": baseline}, measured.set_index(keys).sort_index()
for case in few:
    one = by_case.loc[case]
    tail = ", distilled" if case[1] in run.sizes.distilled else ""
    bars[f"{labels[case[0]]}{tail}, {case[2]}"] = one.pivot(
        index="prompt", columns="seed", values="IoU"
    ).loc[[*PROMPTS]]
width = 0.8 / len(bars)
for n, (name, values) in enumerate(bars.items()):
    place = np.arange(len(PROMPTS)) + (n - (len(bars) - 1) / 2) * width
    colour = plt.cm.viridis(n / len(bars))
    ax.bar(place, values.mean(axis=1), width, yerr=values.std(axis=1), color=colour, label=name)
ax.set(xticks=range(len(PROMPTS)), xticklabels=PROMPTS, ylabel="mean IoU", ylim=(0, 1))
ax.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1))
table = pd.concat({name: values.mean(axis=1) for name, values in bars.items()}, names=["case"])
run.save_figure(figure, "iou", table.rename("IoU").reset_index())

# %% [markdown]
# ## Masks
#
# Box prompts; SAM's answer, that of the exact schedule over four servers, and those of the
# pixels-once schedule before and after distillation.

# %%
columns = {"SAM, whole": own[0]["box"]}
columns |= {"exact": answers[cases[0]][0]["box"]}
for case in cases:
    if case[0] == "pixels_once" and case[2] == "float32":
        name = "pixels once" + ",\ndistilled" * (case[1] in run.sizes.distilled)
        columns[name] = answers[case][0]["box"]
counts = [len(each.masks) for each in draws[0]]
first = np.cumsum([0, *counts[:-1]])  # place of each image's first object among all
shown = range(min(4, len(counts)))

# %%
figure, axes = plt.subplots(len(shown), len(columns), figsize=(7, 7.4), squeeze=False)
rows = []
for line, k in zip(axes, shown, strict=True):
    image, mask = draws[0][k].image, draws[0][k].masks[0]
    for ax, (name, masks) in zip(line, columns.items(), strict=True):
        found = masks[first[k]]
        value = iou([found], [mask]).item()
        title = f"{name}\n{value:.2f}" if k == 0 else f"{value:.2f}"
        mask_overlay(ax, image, found, box_prompt(mask), title=title)
        ax.title.set_fontsize(9)
        rows.append({"image": k, "case": name.replace("\n", " "), "IoU": value})
run.save_figure(figure, "masks", pd.DataFrame(rows))

# %% [markdown]
# ## Everything in the image, without a prompt
#
# `SamAutomaticMaskGenerator` asks for a grid of points. It takes the split encoder as it is.

# %%
options = {"points_per_side": 8, "pred_iou_thresh": 0.7, "stability_score_thresh": 0.7}
options["points_per_batch"] = 16  # 64 take 0.2 GB more
found = {}
with local_servers(4, ["--sam", run.sizes.sam]) as servers:
    worker = WindowBlocks(sam.image_encoder)
    with EdgeCompute(worker, [server.address for server in servers]) as edge:
        split = replace_encoder(sam, PartitionedEncoder(sam.image_encoder, edge))
        for name, model in {"SAM, whole": sam, "exact, 4 servers": split}.items():
            found[name] = SamAutomaticMaskGenerator(model, **options).generate(example.image)

# %% tags=["nbval-check-output"]
pairs = zip(*found.values(), strict=True)
same = [(a["segmentation"] == b["segmentation"]).mean() > 0.999 for a, b in pairs]
print("the same masks:", all(same) and bool(same))

# %% [markdown]
# ## Claims

# %%
means = measured.groupby([*keys, "prompt", "seed"]).IoU.mean().unstack("prompt").unstack("seed")
drops = -means.sub(baseline.stack().reorder_levels([0, 1]), axis=1)
exact = drops.loc["exact"].query("servers == 4").stack("seed").max(axis=1)
values = exact.groupby("seed").max().tolist()
run.check("pedsam-segmentation", values, scale=scale, source=source)

# %%
for name in run.sizes.distilled:
    once = drops.loc[("pixels_once", name, "float32", 4)].unstack("seed").max()
    run.check("pedsam-segmentation-once", once.tolist(), scale=scale, source=source)

# %% [markdown]
# ## Outcome

# %%
run.claims_table()

# %% [markdown]
# **Deviations and limits.** The scenes hold one or two objects. They held up to four, smaller
# ones, until a first look showed how much harder those are for the small SAM; its card in
# `data/checkpoints` gives the IoU on both. Small and thin objects are where it fails. The small
# SAM has SAM's parts at a thirtieth of ViT-B's size and was trained here on drawn scenes; scenes of
# drawn objects over a soft background are easier than photographs. A box or a point made from the
# true mask is a friendly prompt. The paper's schedule could not be read in full: that the pixels-
# once schedule needs distillation is measured here, not reported there. For the published sizes
# there is no distilled network: in the paper profile that row is missing, and its claim is not
# run.
