"""Numbers that the paper and its README report, for tables beside ours: ``data/d4c_reported.csv``.

- ``gain_w4a8``: zero-shot Top-1, D4C minus the data-free baseline, in percentage points;
- ``synthesis_seconds``: for 128 images on one RTX A6000;
- ``reconstruction_seconds``: of one quantization on that GPU.
"""

import pandas as pd

from paperlib.paths import DATA

FILE = DATA / "d4c_reported.csv"


def reported(quantity: str) -> pd.DataFrame:
    """Rows of one quantity: method, encoder, dataset, value, unit, source.

    Raises:
        ValueError: unknown `quantity`, with the valid ones.
    """
    table = pd.read_csv(FILE, keep_default_na=False)
    rows = table[table["quantity"] == quantity]
    if rows.empty:
        valid = ", ".join(map(repr, table["quantity"].unique()))
        raise ValueError(f"quantity={quantity!r}: valid are {valid}")
    return rows.drop(columns="quantity").reset_index(drop=True)
