"""The widget of notebook 11 shows the picture of the prompt that is chosen."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

from paperlib.d4c.explorer import explorer
from paperlib.d4c.synthesis import Synthesis
from paperlib.d4c.tables import similar_prompts

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
TABLE = pd.DataFrame(
    [
        [0, "ship", "dog", 0.4],
        [0, "ship", "cat", 0.3],
        [1, "cat", "cat", 0.5],
        [1, "cat", "ship", 0.1],
    ],
    columns=["image", "prompt", "name", "similarity"],
)


def test_the_chosen_prompt_is_shown_with_what_is_most_like_it(monkeypatch):
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.gcf().axes))
    (choice, *_) = explorer(TABLE, PIXELS).children
    assert [title for title, _ in choice.options] == ["cat (1)", "ship (0)"]
    choice.value = 0
    for (picture, bars), number, prompt in zip(drawn, (1, 0), ("cat", "ship"), strict=True):
        assert picture.get_title() == prompt
        assert np.array_equal(picture.images[0].get_array(), PIXELS[number])
        names = [label.get_text() for label in bars.get_yticklabels()]
        assert names == TABLE[TABLE.image == number].name.tolist()
        grey = [to_hex(bar.get_facecolor()) == to_hex("0.75") for bar in bars.patches]
        assert grey == [name != prompt for name in names]


def test_the_most_similar_names_come_first(toy_clip, monkeypatch):
    monkeypatch.setattr(
        "paperlib.d4c.tables.prompt_similarities", lambda *_: torch.eye(2, 3) / 2 + 0.1
    )
    names, images = ("sky", "sea", "sand"), torch.zeros(2, 3, 4, 4)
    made = Synthesis(
        images, torch.zeros(1, 1), {}, names, torch.tensor([0, 2]), torch.zeros(2, 4).long()
    )
    table = similar_prompts(toy_clip, torch.ones(3, 4), made, 2)
    assert table.prompt.tolist() == ["sky"] * 2 + ["sand"] * 2
    assert table.name.iloc[[0, 2]].tolist() == ["sky", "sea"]
    assert table.similarity.iloc[[0, 1]].tolist() == pytest.approx([0.6, 0.1])
