# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 16 · A sweep over sizes and seeds
#
# **Question.** How much does what a notebook measures depend on a size that somebody chose, such as
# the number of images, and how much on the draw of a seed alone?
#
# **In the papers.** What could be read of them are single numbers, without a spread over
# repetitions, so nobody can say whether a difference between two settings is more than chance. A
# *sweep* answers that for any size of any notebook here: it runs one notebook at every point of a
# grid of sizes, each with several seeds, and puts every value into one table. This notebook reads
# such a table.
#
# | profile | data | memory | download | device |
# |---|---|---|---|---|
# | all | the table of a sweep, `data/sweeps`, or yours | under 0.6 GB | none | CPU, one core |
#
# *Measured when published: default 7 s of one core, 563 MB.*
#
# A sweep is a file, such as `sweeps/images.yaml`, that names a notebook, a grid and seeds. That one
# made the table that comes with this notebook, by the first line below; the second draws any other:
#
# ```
# ./run_all.sh sweep sweeps/images.yaml
# cd notebooks; papermill 16_sweep.ipynb mine.ipynb -p table ../outputs/sweeps/images.csv
# ```

# %% [markdown]
# ## Parameters
#
# `table` is the CSV or parquet of a sweep. Its path is absolute or starts in the folder
# `notebooks`; empty is the table that comes with the notebook. Profile and seed change nothing
# here, since nothing is drawn: those of the runs stand in the table.

# %% tags=["parameters"]
profile = "default"  # smoke, default, paper
seed = 0  # without use here
dataset = "openmoji"
table = ""  # of a sweep; empty: data/sweeps/images.csv

# %%
from paperlib.notebook.start import start
from paperlib.sweeps import sizes

run = start("16_sweep", sizes, profile=profile, seed=seed, dataset=dataset, table=table)

# %%
from pathlib import Path

from paperlib.notebook.words import beside_zero, compared, counted, number
from paperlib.paths import DATA
from paperlib.sweeps import plots, tables

# %% [markdown]
# ## The table
#
# It has a row for each value of each claim, with the sizes and the seed of its run and with what
# decided the value: the commit, whether the code was as committed, a hash of everything that went
# into it, threads and device. A run that failed has a row without a value, so that what is missing
# can be seen.

# %%
file = Path(table) if table else DATA / "sweeps" / f"{run.sizes.table}.csv"
values = tables.read(file)
run.say(tables.described(values))

# %%
values.drop(columns=["notebook", "profile", "dataset", "digest", "run"], errors="ignore").head()

# %% [markdown]
# ## What is made of it
#
# A run counts as one value of a claim, however many draws of images it has inside, because its
# draws share everything else. At a point of the grid with $n$ seeds, whose values have the mean
# $\bar x$ and the standard deviation $s$, the interval is Student's, at 95 %:
#
# $$\bar x \pm t_{0.975, n-1}\, \frac{s}{\sqrt n}$$
#
# It says where the mean over *all* seeds may lie, not where the next run will. Of that, $s$ itself
# tells more, which the table below calls *spread*: two thirds of all runs or so lie within one
# spread of the mean.

# %%
runs = tables.per_run(values)
run.save_figure(plots.over_grid, runs)

# %% [markdown]
# A panel is a claim, in the claim's own unit; [this page](../docs/claims.md) says what each one
# measures. A dash is a run, a point the mean of its runs, and the bar is the mean's interval. If a
# size does not matter, the points lie on one level, as far as their bars allow. If it only makes
# the measurement finer, as a number of images does, the dashes draw together from left to right and
# the level stays. If the level itself moves, the size is a part of what is measured, and values at
# two sizes must not be compared. Steps along the axis are drawn alike, however far apart the sizes
# are. Further sizes of a grid have the colours.

# %%
tables.summary(values).round(3)

# %% [markdown]
# ## Does the level move?
#
# Whether two bars overlap is a poor test: runs with one seed may share images, and then both are
# high or low together. So the change from the first value of a size to its last is taken seed by
# seed, $d_s = x_s(b) - x_s(a)$, each a mean over the other sizes of the grid, and the interval is
# that of the mean of $d_s$. Of words, such as an encoder's name, first and last are those of the
# table. An interval that holds zero does not say that nothing changes: it says how large a change
# these seeds would not have shown.

# %%
changes = tables.changes(values)
changes.round(3)

# %%
sure = changes.dropna()  # of one seed there is no interval
for row in sure.to_dict("records"):
    words = f"`{row['claim']}`, `{row['size']}` {row['from']} to {row['to']}: "
    words += f"{number(row['difference'])} [{number(row['low'])}, {number(row['high'])}]"
    run.say(f"{words} {row['unit']}, {beside_zero(row['low'], row['high'])}.")

# %% [markdown]
# ## Does the spread shrink?
#
# A mean over $m$ images that were drawn one by one has a spread that falls as $1/\sqrt m$: four
# times the images, half the spread. A spread that stays where it is comes from something else that
# the seed decides, and more images will not help. A standard deviation of five values is itself
# known to a third or so, so only a large change of it means anything.

# %%
than = {"more": "more than", "less": "less than", "same": "as much as"}
for row in sure.to_dict("records"):
    spreads = compared(row["spread from"], row["spread to"], **than)
    run.say(f"`{row['claim']}`, `{row['size']}` {row['from']} to {row['to']}: spread {spreads}.")

# %%
if len(sure):
    apart = counted((sure.low > 0) | (sure.high < 0))
    run.say(f"Claims and sizes of which the level moves, as far as can be told: {apart}.")

# %% [markdown]
# **The question answered.** The sentences above say it for this table, claim by claim: where the
# interval of the change holds zero, the size is no more than a matter of precision as far as these
# seeds can show, and where it does not, the size belongs beside the value whenever that is quoted.
# How much hangs on the seed alone is the spread; a difference between two methods that is not
# larger than that, from one run each, is no finding.
#
# **Deviations and limits.** None of this checks a claim. A run with another size than its profile's
# has values and no status, and is never published. Student's interval takes the runs of a point as
# drawn independently from one bell-shaped distribution; with five seeds that cannot be tested. Of
# many intervals some miss zero by chance, one in twenty if nothing changes at all. Seeds decide the
# draw of images and of random choices, but not the trained networks, which are the same in every
# run: what other trainings would give is another question, and notebook 4 has a part of its answer.
# The table that comes with the notebook is of the smallest profile, and shows how it is done.
