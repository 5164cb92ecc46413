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
# | smoke, default | OpenMoji scenes, drawn here | under 1.8 GB | none | CPU, one core |
# | paper | photographs; OpenMoji scenes where labels are needed | under 3 GB | none | CPU |
#
# *Measured when published: default 6 minutes of one core, 1781 MB; paper 15 minutes, 2489 MB.*
#
# The networks of the attacks run on CUDA where there is one; tested on the CPU alone. For
# photographs, name a folder of images (BSDS500, or any other):
# `PAPERLIB_PHOTOGRAPHS=/path/to/folder`; profile paper takes detectors from
# `PAPERLIB_DETECTORS=/path/to/folder` as well.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # of the images and of every random choice
dataset = "openmoji"  # openmoji, photographs

# %%
from paperlib.notebook.start import start
from paperlib.pedsam import sizes

run = start("08_privacy", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import pandas as pd
import torch
from IPython.display import display

from paperlib.data.photographs import free_squares
from paperlib.intervals import student
from paperlib.models.sam import IMAGE, load_sam
from paperlib.notebook.figures import as_pixels
from paperlib.notebook.words import compared, counted, number
from paperlib.pedsam.attacks import (
    active,
    detection,
    measures,
    plots,
    privacy,
    recognition,
    unseen,
)
from paperlib.pedsam.attacks.detectors import load_detectors
from paperlib.pedsam.attacks.images import targets_of
from paperlib.pedsam.attacks.networks import ENOUGH, GRID, SAM, load_attack
from paperlib.pedsam.small_sam.scenes import DRAWN, load_draws, scale
from paperlib.pedsam.split.schedule import rounds
from paperlib.runtime import device

# %% [markdown]
# ## Images, tokens and attackers
#
# The small SAM cuts an image of 320 × 320 pixels into 16 windows. Reconstruction works at 160 ×
# 160, where a window has the same place and a quarter of the pixels. The attack networks were
# trained on drawn scenes with other drawings, and the last four on photographs alone: all are used
# on either, and the best of all in a setting counts.

# %%
sam = load_sam(SAM).to(device())
drawn = load_draws(dataset, run.sizes.images, run.sizes.draws, seed)
targets = [targets_of(sam, images) for images in drawn.images]
print(f"{drawn.source}: {len(targets)} × {tuple(targets[0].images.shape)}")
print(f"tokens of round two: {tuple(targets[0].tokens.shape)}; {GRID.count} windows")

# %% [markdown]
# Nine attacks fill in what a view $m$ hides: the mean colour of what is seen; a biharmonic surface,
# $\Delta^2 u = 0$ in the hole; a network $f(m, x \odot m)$ trained to rebuild images; the same
# network with the tokens $t$ that the coalition receives in round two, $f(m, x \odot m, t \odot
# m)$; with these tokens alone, $f(m, t \odot m)$; what is to be expected of a photograph of which
# the seen pixels are known, $E[x \mid x_m]$, with the Gaussian distribution of small photographs,
# learnt from 42,297 squares of some 33,000 of them; two networks $h$, a U-Net and a transformer,
# that were trained on the same squares to add what the Gaussian cannot know, $E[x \mid x_m] + h(m,
# E[x \mid x_m])$; and this U-Net, trained on with the tokens of round two, $h(m, E[x \mid x_m], t
# \odot m)$, of those photographs that are not tiny. The transformer's own tokens are
# patches; where nothing was seen they hold the Gaussian's guess, and a mask that says so. In the
# exact schedule the tokens of round two have been through a global attention block, so they have
# read from the whole image.

# %%
measured = privacy.measure(targets, privacy.coalitions(run.sizes.sharing), seed)
means = privacy.means(measured)

# %% [markdown]
# ## What it looks like
#
# One server's view under a random assignment, and what the attacks make of it.

# %%
table, pictures = privacy.examples(targets[0], run.sizes.sharing, seed)
pixels = {name: as_pixels(images) for name, images in pictures.items()}
run.save_figure(plots.rebuilt, table, pixels)

# %% [markdown]
# What the server has is at the left, the truth at the right; black is what it never got. Colours
# that continue smoothly into the black are a guess that suits any picture. A leak would be an
# object, or an edge of one, that appears where all was black and is there in the truth as well.
#
# The same on four photographs that come with scikit-image:

# %%
photographs = targets_of(sam, free_squares(IMAGE))
table, pictures = privacy.examples(photographs, run.sizes.sharing, seed)
pixels = {name: as_pixels(images) for name, images in pictures.items()}
run.save_figure(plots.rebuilt_photographs, table, pixels)

# %%
over = table.pivot(index="servers", columns="attack", values="PSNR unseen")
over = over.drop(columns="mean_fill").max(axis=1) - over.mean_fill
words = ", ".join(f"{number(gain)} dB with {servers} servers" for servers, gain in over.items())
run.say(f"The guess nearest to each photograph gains over the mean colour: {words}.")

# %% [markdown]
# One picture a row, and of all guesses the one that turned out nearest: too few to measure by. A
# face or a cup inside the black would be a leak. A sky that darkens evenly can be continued far
# beyond the window that shows it, though not the rocket before it. What anybody recognises at once
# in a view was sent as it is and needs no attack.
#
# More can be said of 100 photographs that no attacker has learnt from (every tenth of 1,000 of
# ImageNet): PSNR over what one server has not seen, in dB, means over the three assignments, as the
# attackers' cards have them. Beside them stand what the Gaussian would be with half of its
# photographs, and, for comparison, the guess at a single window with all others given.

# %%
held_out = privacy.held_out_photographs()
held_out.round(2)

# %%
networks = {"U-Net": "unet", "transformer": "transformer", "U-Net with tokens": "unet_tokens"}
psnr = {name: held_out["all"].get(each.title) for name, each in privacy.ATTACKS.items()}
more = number(psnr["gaussian"] - psnr["inpainting"])
run.say(f"A Gaussian of photographs gains {more} dB over drawn scenes.")

# %%
for title, name in networks.items():
    words = compared(psnr[name], psnr["gaussian"], same="the same as", unit=" dB", digits=4)
    run.say(f"The {title}, beside the Gaussian: {words}.")

# %%
twin = held_out["all"][f"{privacy.ATTACKS['unet_tokens'].title} of others"]
words = compared(psnr["unet_tokens"], twin, same="the same as", unit=" dB", digits=4)
run.say(f"With tokens of the photograph, beside its twin with those of others: {words}.")
words = compared(twin, psnr["unet"], same="the same as", unit=" dB", digits=4)
run.say(f"That twin, beside the U-Net without tokens from which both start: {words}.")

# %%
stages = {title: privacy.doublings(name) for title, name in networks.items()}
pd.concat(stages, names=["network", "stage"]).round(3)

# %%
last = "; ".join(f"{title} {number(each.gain.iloc[-1])} dB" for title, each in stages.items())
going = [title for title, each in stages.items() if each.gain.iloc[-1] >= ENOUGH]
run.say(f"By the last doubling of each training: {last}. A gain under {ENOUGH} dB ends it.")
run.say(f"Stopped before that, so that more training may gain more: {', '.join(going) or 'none'}.")

# %% [markdown]
# The Gaussian is learnt to the end: twice the photographs change little. Were photographs Gaussian,
# and 30 × 30 pixels small, no guess would be better. What a network can add is what is not linear:
# how edges and textures go on. The trainings were doubled, stage by stage, until a doubling gained
# too little or the time for it was over. The transformer never left the Gaussian: the rule ended
# its training after 3,000 steps, which does not show that no transformer does better. The U-Net
# with tokens has a twin that was trained alike and got the tokens of other photographs, but for a
# few squares: what parts them came with the tokens. What the twin gained came with longer training.
# An attacker with a far larger network, who knows what faces and cups look like, comes nearer. The
# column *all but one* is a single window of which all others are known: how far the others lie
# below it is owed to windows that went to other servers. There the hole is narrow, which is what
# the biharmonic surface is made for.
#
# ## Reconstruction by one server
#
# PSNR over the pixels that the server has not seen, and SSIM over the whole image, where plain
# cloud has 1.
#
# PSNR is the mean squared error in decibels: ten more are a tenth of the error. SSIM compares
# means, contrasts and structure place by place and is 1 for equal images. The first asks what was
# guessed, the second how much of the image there is in the end, with the pixels that were simply
# sent.

# %%
alone = means[means.colluding == 1]
alone[alone.assignment == "random"].drop(columns=["assignment", "colluding"]).round(3)

# %%
run.save_figure(plots.reconstruction, privacy.shown(alone))

# %% [markdown]
# Above is the quality of the guess alone, below that of the whole image, into which the pixels that
# the server was sent are counted. The line of the mean colour is the null control: an attack that
# is not above it has found nothing. Where more servers share an image, each has less to start from.
#
# The attack from tokens alone does not use the pixels that the server also has; its place is in
# the comparison over unseen pixels. The best attack in each setting, one row a number of servers:

# %%
best = privacy.best_by_draw(measured)
pd.DataFrame({"mean": best.mean(axis=1), "std": best.std(axis=1)}).unstack("assignment").round(3)

# %%
note, values = "plain cloud: 1", best.max().tolist()
run.check("pedsam-rebuilt", values, scale=drawn.scale, source=drawn.source, note=note)

# %%
plain_cloud = pd.DataFrame(1.0, [1], best.columns)
filled = privacy.fill_by_draw(measured)
both = [pd.concat([plain_cloud, each.loc["random"]]) for each in (best, filled)]
falls, fill_falls = map(recognition.falls, both)
falls.round(3)

# %%
smallest = falls.min().tolist()
note = f"of the mean fill, which rebuilds nothing: {number(fill_falls.min().mean())}"
run.check("pedsam-rebuilt-fewer", smallest, scale=drawn.scale, source=drawn.source, note=note)

# %% [markdown]
# The last number says that this could hardly have come out otherwise: SSIM over the image counts
# the pixels that were sent, so of the mean fill it falls as well. What is *guessed* need not fall;
# that is asked next.

# %% [markdown]
# ## More than the mean colour?
#
# SSIM over the image counts what was sent, and of the rest the mean colour has a good part. So each
# attack is held against the mean fill of the same view, over the pixels that were never seen,
# picture by picture. The threshold of the claim, fixed before measuring, is a gain of 3 dB: a
# factor of two in the squared error. The mean colour's error is the variance of what is unseen.
#
# Two controls, on the first draw and under random assignments: the U-Net, of the attacks that get
# pixels alone the best one on held-out photographs, looks at the view of another picture, and shows
# what is gained without looking at the picture at all; and the network that was trained on drawn
# scenes, which keeps detail, is given the whole picture, as plain cloud is, and has to gain a lot.

# %%
gained = unseen.over_fill(measured)
controls = unseen.controls(targets[:1], run.sizes.sharing, seed)
table = unseen.summary(gained, controls, seed)
table[table.assignment == "random"].set_index(["measure", "fill", "servers"]).round(2)

# %%
run.save_figure(plots.over_fill, table)

# %% [markdown]
# In PSNR a gain means colours nearer to the true ones, in SSIM structure where the mean colour has
# none. An attack that gains in the first alone has guessed the light and not the things. Intervals
# are from the bootstrap over pictures, with the best attack chosen anew in each resample. Where the
# grey line is above zero, the attack knows what pictures are like, whatever it looks at: about what
# lies above the grey line was found in the picture, in its pixels or in tokens of round two.

# %%
control = table[table.measure == "PSNR unseen"].groupby("fill").gain.agg(["min", "max"])
for fill in (unseen.OTHERS, unseen.WHOLE):
    low, high = (number(gain, 3) for gain in control.loc[fill])
    run.say(f"Given {fill}, the control gains {low} to {high} dB, by number of servers.")

# %%
largest, ends = unseen.largest(gained, seed)
note = "largest: {}, {} servers, {}".format(*largest.name)
told = {"interval": ends, "over": "pictures", "note": note}
run.check("pedsam-unseen", largest.tolist(), scale=drawn.scale, source=drawn.source, **told)

# %% [markdown]
# Does one server guess worse what it never got, the more there are? PSNR over unseen pixels tells,
# in which what was sent has no part: from each number of servers to the next it has to fall. The
# mean colour of what is seen is a guess too, and becomes a worse one. So the gain over it need not
# fall, even where all guesses get worse; nor need the null control's.

# %%
lost, ends = unseen.smallest_fall(measured, seed)
over = unseen.smallest_fall(gained, seed)[0]
note = "smallest: from {} to {} servers".format(*lost.name)
note += f"; of the gain over the mean fill: {number(over.mean())} dB"

# %%
told = {"interval": ends, "over": "pictures", "note": note}
run.check("pedsam-unseen-fewer", lost.tolist(), scale=drawn.scale, source=drawn.source, **told)

# %% [markdown]
# ## Collusion
#
# Servers that put their views together, under a random assignment.

# %%
joint = means[(means.assignment == "random") & means.servers.isin([4, 16])]
run.save_figure(plots.collusion, privacy.shown(joint))

# %% [markdown]
# Solid with circles: 16 servers; dashed with squares: 4. The further to the right, the more of the
# image the coalition has without any attack, so all lines should rise; how steeply tells what each
# server that joins is worth. Where a solid and a dashed line of one colour part, the size of the
# pieces matters, not their sum alone.
#
# ## What later rounds leak
#
# The same network, trained alike on the same drawn scenes, once with the pixels alone and once with
# the tokens of round two as well. What the second gains over unseen pixels, the tokens have brought
# from windows that the coalition never got. Each against the best attack without tokens, those of
# drawn scenes among their like: beside one that knows more, less would seem to leak. The U-Net of
# photographs with tokens is held against all of them; a small part of its gain is longer training,
# as its twin above says. The null control: the same attacks are given the tokens of another
# picture, which can tell nothing.

# %%
gain = privacy.gains(measured)
by_others = privacy.gains_by_others(measured, targets, run.sizes.sharing, seed)
mean_gain = gain.groupby(privacy.KEYS, sort=False).mean()
mean_gain.unstack("assignment").xs(1, level="colluding").round(2)

# %%
run.save_figure(plots.later_rounds, privacy.gains_shown(gain, by_others))

# %% [markdown]
# The line at zero is the best attack without tokens. Points above it are information that came with
# the tokens, but for what is said of the twin; points below are an attack that another one without
# tokens does better than, which is where those should be that were given another picture's tokens.
# First come single servers, at the right colluding ones. All panels are of this run's pictures: a
# network that has learnt from others, drawn scenes or photographs, is not at home there.

# %%
each = mean_gain.xs(1, level="colluding").to_numpy().ravel()  # by number, assignment, attack
words = f"{counted(each > 0)} settings of one server an attack is better with tokens"
run.say(
    f"In {words}. Over all: {number(each.mean())} dB in the mean, {number(each.max())} at most."
)

# %%
note = f"{counted(gain.mean() > 0)} attacks with tokens beat the best one without; "
note += f"with the tokens of another picture: {number(privacy.leak(by_others).mean())} dB"
values = privacy.leak(gain).tolist()
run.check("pedsam-later-rounds", values, scale=drawn.scale, source=drawn.source, note=note)

# %% [markdown]
# Any gain is a leak: being sent only windows of one's own is no protection once tokens have been
# through global attention, and a small gain of such weak attackers is no proof that little leaks.
# The remedy is the pixels-once schedule: it has one round, in which servers get pixels, and no
# token that has seen other windows ever leaves the edge. Notebook 7 shows what it costs in quality.

# %%
for schedule in ("exact", "pixels_once"):
    later = rounds(sam.image_encoder, schedule)[1:]
    print(f"{schedule}: {len(later)} rounds with tokens")

# %% [markdown]
# ## A server that chooses what it returns
#
# So far a server computed what it should and kept what it got. A malicious one may return tokens
# $z$ of its own choice in round one, the same for every picture. The edge's global attention $g$
# mixes them with the honest tokens $t$ of all other windows and sends back, in round two,
# $r_m = g(z_m, t_{\bar m})_m$ for the server's windows $m$. Of these, all that changes from picture
# to picture comes from windows that it never got. Each chosen token is a query, and so a question
# about them; different tokens ask different questions.
#
# One decoder compares what a server knows: a ridge regression to the mean colours of the unseen
# patches of 16 pixels, from the mean colours of the seen ones alone and with the tokens of round
# two. It is fitted to drawn scenes and their mirror images, anew for each view, with the ridge and
# the weight of the tokens chosen on a fifth of the scenes. How many scenes, and how large chosen
# tokens are, was fixed on other scenes (seed 1000).

# %%
learnt = active.scenes_to_learn_from(sam, run.sizes.taught, seed)
asked = active.look_at(sam, torch.cat(drawn.images))
attackers = {k: active.Attacker(sam, learnt, asked, k, seed) for k in active.ACTIVE}

# %% [markdown]
# Five kinds of tokens: honest ones; one token returned for every place (the mean of honest ones);
# random ones, another for every place; those of other pictures, the null control; and the honest
# tokens of all windows, as if the server had been sent them, the positive control. Gain in dB over
# the same decoder with pixels alone, and the ends of its 95 % interval over pictures.

# %%
gained = active.gains(attackers, seed)
table = active.summary(gained, ["servers", "knows"])
table.round(2)

# %%
run.save_figure(plots.active, table)

# %% [markdown]
# At zero, tokens tell this decoder nothing. The grey line has to be there: tokens of other pictures
# cannot help. Where honest tokens are there too, what the networks above found in them is nothing
# that a linear decoder can read; the same decoder reads what came back after chosen tokens. The
# green line, the positive control, is as much as it reads from tokens that are there to be read.

# %%
more = active.more_than_honest(gained)
values = more.groupby(more.index // run.sizes.images).mean().tolist()
told = {"interval": student(more), "over": "pictures"}
run.check("pedsam-active", values, scale=drawn.scale, source=drawn.source, **told)

# %% [markdown]
# ## What helps against it
#
# Of two servers, one returns random tokens. Spot checks compute $r$ of the 16 windows again before
# anything is sent on, and a server that is caught is sent nothing more; so it may be better off to
# lie about few of its windows. Of 1, 4 and all of them, the number that pays best under each $r$
# counts. Noise is added to all tokens that the edge sends, with a standard deviation in percent of
# that of honest tokens; the attacker's decoder is fitted to noisy tokens. The pixels-once schedule
# sends no tokens at all.

# %%
checks = active.under_checks(attackers[2], seed)
later = len(rounds(sam.image_encoder, "pixels_once")) - 1
left = active.defences(checks, active.under_noise(attackers[2], seed), later)
left.round(2)

# %%
run.save_figure(plots.active_defences, left)

# %% [markdown]
# Checks can only take away what chosen tokens gain without them: where the first bar is not clear
# of the limit of 0.1 dB, there is nothing that they could take. A gain under checks is one
# picture's, on average over what is checked. A server that is caught with probability $p$ a picture
# reads $1/p - 1$ of them on average and is not used again. Noise has its price in masks; the mean
# IoU with the true ones, prompted by boxes, by standard deviation:

# %%
size = learnt.sent.std().item()
del learnt, asked, attackers  # of no use below, and large
pd.Series(active.iou_under_noise(sam, run.sizes.segmented, size, seed), name="IoU").round(3)

# %%
kept, unchecked = (active.best_lie(checks, checked) for checked in (4, 0))
values = kept.groupby(kept.index // run.sizes.images).mean().tolist()
told = {"interval": student(kept), "over": "pictures", "stake": student(unchecked)}
run.check("pedsam-active-checked", values, scale=drawn.scale, source=drawn.source, **told)

# %% [markdown]
# ## Recognition
#
# A classifier of ten classes, trained on views of all kinds, looks at one server's view of a scene
# with a single object. Recognition needs labels, so this part is on OpenMoji scenes in every
# profile.

# %%
classifier = load_attack("classifier").to(device())
servers, count = run.sizes.sharing, run.sizes.recognised
accuracy, single = recognition.accuracies(classifier, servers, count, run.sizes.draws, seed)

# %% [markdown]
# SAM itself looks at the mean-filled view of a scene with several objects, and is told the true
# box of the largest one. What the box alone says, filled as a mask, is the line to compare with.

# %%
found = recognition.ious(sam, servers, run.sizes.segmented, run.sizes.draws, seed)
run.save_figure(plots.recognition, recognition.by_servers(accuracy, found))

# %% [markdown]
# At the left the grey line is guessing: a classifier that reaches it has recognised nothing. At the
# right the grey line is the box that SAM was told, filled: a mask that is no better has found no
# outline in the view.

# %%
overlap = found[found.colluding == 1].groupby("servers")[["IoU", "box"]].mean()
for k, mean in overlap.loc[[min(servers), max(servers)]].iterrows():
    words = compared(mean.IoU, mean.box, more="above", less="below", same="level with")
    run.say(f"With {k} servers the IoU of SAM's mask on a view is {words} of the box.")

# %% [markdown]
# With collusion, of 16 servers under a random assignment:

# %%
random = accuracy[accuracy.assignment == "random"].groupby(["servers", "colluding"]).accuracy.mean()
overlap = found.groupby(["servers", "colluding"])[["IoU", "box"]].mean()
overlap.join(random).loc[16].round(2)

# %%
one = accuracy[(accuracy.assignment == "random") & (accuracy.colluding == 1)]
falls = recognition.falls(one.pivot(index="servers", columns="draw", values="accuracy"))
words = scale(run.sizes.recognised, run.sizes.draws)
run.check("pedsam-recognition", falls.min().tolist(), scale=words, source=single)

# %%
views = found[found.colluding == 1].pivot(index="servers", columns="draw", values="IoU")
worse = (views.loc[1] - views.loc[list(servers)]).min()
words = scale(run.sizes.segmented, run.sizes.draws)
run.check("pedsam-sam-view", worse.tolist(), scale=words, source=DRAWN)

# %% [markdown]
# ## Detection
#
# A classifier that was trained here, and SAM that is told a box, stand in for a detector. On
# photographs a published one can look (NanoDet-m, COCO's 80 categories), which nobody here trained.
# What it finds in the whole photograph is the reference; recall is the share that it finds again,
# of its kind and in its place, in what one server has: the view, the view filled with its mean
# colour, and the reconstruction that came nearest. One server that gets everything has a recall of
# 1, as what was sent is in place in all of them; the view of another photograph is the null
# control. It needs files that a user names (`PAPERLIB_DETECTORS`), and is measured in profile
# paper.

# %%
if run.sizes.detected:
    looked_at, chosen = detection.photographs(run.sizes.detected, seed), (1, *servers)
    seen = detection.measure(sam.cpu(), looked_at, load_detectors(), chosen, "random", seed)
    display(detection.summary(seen, seed).recall.unstack("servers").round(3))

# %%
if run.sizes.detected:
    words = {"scale": f"{run.sizes.detected} photographs", "source": "photographs"}
    filled, null = map(number, detection.controls(seen, seed))
    words["note"] = f"recall on the mean fill, 2 servers: {filled}; on the view of another "
    words["note"] += f"photograph: {null} at most"

# %%
if run.sizes.detected:
    fall, ends = detection.falls(seen, seed)
    run.check("pedsam-detection", fall, interval=ends, over="photographs", **words)

# %%
if run.sizes.detected:
    more, ends = detection.over_fill(seen, seed)
    run.check("pedsam-detection-fill", more, interval=ends, over="photographs", **words)

# %% [markdown]
# (In profiles smoke and default nothing is shown.)
#
# ## Video
#
# Of a static scene, a server sees $1 - (1 - 1/k)^T$ of the windows in $T$ frames if each frame has
# a fresh random assignment, and $1/k$ if the assignment is kept. Measured over many secrets.

# %%
video = measures.seen_in_a_video(GRID, servers, run.sizes.frames, run.sizes.trials, seed)
run.save_figure(plots.video, video)

# %% [markdown]
# Lines: the formula for a fresh assignment; circles: measured; dotted: a kept assignment. Keeping
# it is the better choice for a still camera.

# %%
difference = video.measured - video.fresh
largest = difference[difference.abs().idxmax()]
words = f"{run.sizes.trials} secrets, {run.sizes.frames} frames"
run.check("pedsam-video", largest, scale=words, source="assignments")

# %% [markdown]
# ## Outcome
#
# ± is the standard deviation over draws of images and views; the attackers are the same.

# %%
run.claims_table()

# %%
less = counted(fall > 0 for fall in smallest), counted(falls.min() > 0)
run.say(f"With every step to more servers, one rebuilds less in {less[0]} draws of images.")
run.say(f"It recognises less in {less[1]} draws.")
together = compared(random[16, 12], random[16, 1], same="as", unit=" %", digits=3)
run.say(f"Twelve of 16 servers together recognise {together} of one server.")

# %%
guess = alone[alone.assignment == "random"].pivot_table("PSNR unseen", "servers", "attack")
best_guess, colour = guess.drop(columns="mean_fill").max(axis=1), guess.mean_fill
for k in (min(servers), max(servers)):
    words = compared(best_guess[k], colour[k], same="as", unit=" dB", digits=3)
    run.say(f"Best guess at what one of {k} never saw: {words} of the mean colour.")

# %% [markdown]
# **The question answered.** A server has its windows, and from them guesses what is around. A guess
# that is little better than the mean colour is one of colours: it does not get the objects in
# windows that the server never saw. The lines above say how much better it is, whether one server
# finds less, the more there are, and what servers gain that put their views together. Frames of a
# video, assigned anew, add up in the same way. Whether the tokens of later rounds add to it is said
# above, too, for a server that is curious and for one that chooses what it returns: where that one
# gains, windows have to be checked.
#
# That less is rebuilt with more servers is nearly so by construction, as the mean fill shows. That
# less is guessed of what was never sent is another question, which the claim on unseen pixels
# answers.
#
# **Deviations and limits.** The attacks are ours and small: networks of a million parameters,
# trained for minutes on drawn scenes; a Gaussian of photographs, which is learnt to the end but
# linear; and a U-Net and a transformer of 1.6 million each that start from it, of which the second
# has learnt nothing beyond it; and that U-Net again with tokens, of far fewer photographs. A
# stronger attacker (a large generative model, say) would rebuild more; the numbers are lower bounds
# of what leaks, and a small gain from the tokens is no proof of a small leak. What the tokens add
# compares networks that were trained once each. The decoder of the active server is linear, what it
# returns is drawn at random, and one view a number of servers is measured. A coalition is drawn at
# random for each image; servers at the right and bottom edge have smaller windows and see less than
# the average. SAM and the classifier are told more than a server would know (the box; that there is
# one object). Drawn scenes have smooth backgrounds, which are easier to continue than photographs.
