r"""What an image would take on a network, modelled from what was measured.

Measured (`paperlib.pedsam.remote.latency`) are, for each round $r$, CPU seconds of the edge $e_r$
and of each server $s_{rk}$, and the bytes up $u_r$ and down $d_r$ of all servers together.
Modelled, for an edge that is $f$ times slower than a server, on a link of $b_u$ and $b_d$ bits a
second with a round trip of $t$ seconds, which all servers share:

$$T = \sum_r \Bigl(f e_r + t + \frac{8 u_r}{b_u} + \max_k s_{rk} + \frac{8 d_r}{b_d}\Bigr).$$

On the edge alone, $T = f s$ with $s$ the seconds of the whole encoder; in a plain cloud one server
gets the image as 8-bit pixels and answers with the embedding in the same number format, in one
round. The paper reports latency on constrained edges; how it is composed here is ours.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from segment_anything.modeling import ImageEncoderViT

from paperlib.pedsam.remote.latency import ALONE, CASES, SPENT, case_name
from paperlib.pedsam.remote.wire import TYPES

CLOUD = "plain cloud"


@dataclass(frozen=True)
class Network:
    """The edge's link to its servers.

    Attributes:
        name: for tables.
        up, down: megabits a second.
        round_trip: milliseconds.
    """

    name: str
    up: float
    down: float
    round_trip: float

    def seconds(self, bytes_up: float, bytes_down: float) -> float:
        """Of one exchange, beside what both sides compute."""
        return self.round_trip / 1e3 + 8e-6 * (bytes_up / self.up + bytes_down / self.down)


NETWORKS = (
    Network("Wi-Fi", up=200, down=200, round_trip=5),
    Network("5G", up=60, down=300, round_trip=20),
    Network("wired", up=1000, down=1000, round_trip=1),
)


def modelled_cases(
    measured: pd.DataFrame,
    whole: pd.Series,
    cloud: Mapping[str, tuple[int, int]],
    edge_factors: Sequence[float],
) -> pd.DataFrame:
    """Seconds of one image by stage, modelled: four servers, the edge alone, and plain cloud.

    Args:
        measured: of `measure_cases`.
        whole: seconds of the whole encoder, by SAM.
        cloud: bytes of a plain cloud (see `plain_cloud_bytes`), by SAM.
        edge_factors: how many times slower the edge is than what was measured.

    Returns:
        A row for each SAM, network, factor ("edge slower by") and case, with edge, servers,
        transfer and seconds, their sum.
    """
    rows, four = [], measured[measured.servers == 4]
    for name, network, factor in itertools.product(cloud, NETWORKS, edge_factors):
        setting = {"SAM": name, "network": network.name, "edge slower by": factor}
        seconds = whole[name]
        parts = {ALONE: {"edge": factor * seconds, "servers": 0.0, "transfer": 0.0}}
        parts[CLOUD] = plain_cloud(seconds, cloud[name], network)
        for schedule, form in CASES:
            mine = four[(name == four.SAM) & (four.schedule == schedule) & (four.format == form)]
            parts[case_name(schedule, form)] = modelled(mine, network, factor)
        rows += [setting | {"case": case} | part for case, part in parts.items()]
    table = pd.DataFrame(rows)
    return table.assign(seconds=table[["edge", "servers", "transfer"]].sum(axis=1))


def fastest(cases: pd.DataFrame) -> pd.DataFrame:
    """The fastest way to split in each setting, beside what needs no splitting.

    Args:
        cases: of `modelled_cases`.

    Returns:
        A row for each SAM, network and factor, with the fastest case and seconds: split (of that
        case), edge alone and plain cloud.
    """
    seconds = cases.pivot_table("seconds", ["SAM", "network", "edge slower by"], "case", sort=False)
    split = seconds.drop(columns=[ALONE, CLOUD])
    best = split.idxmin(axis=1).rename("case").to_frame().assign(split=split.min(axis=1))
    return best.join(seconds[[ALONE, CLOUD]]).reset_index()


def modelled(rounds: pd.DataFrame, network: Network, edge_factor: float = 1.0) -> dict[str, float]:
    """Seconds of one image by part: edge, servers, transfer; means over the images.

    Args:
        rounds: of `measure_rounds`.
        network: the link.
        edge_factor: how many times slower the edge is than what was measured.
    """
    image = rounds.groupby("round")[SPENT].mean()
    return {
        "edge": edge_factor * image.edge.sum(),
        "servers": image.server.sum(),
        "transfer": sum(network.seconds(r.bytes_up, r.bytes_down) for r in image.itertuples()),
    }


def plain_cloud(seconds: float, moved: tuple[int, int], network: Network) -> dict[str, float]:
    """The same for one server that gets the whole image and runs the whole encoder.

    Args:
        seconds: of the encoder on the server.
        moved: bytes up and down.
        network: the link.
    """
    return {"edge": 0.0, "servers": seconds, "transfer": network.seconds(*moved)}


def plain_cloud_bytes(encoder: ImageEncoderViT, form: str) -> tuple[int, int]:
    """Bytes up, the image in 8 bits a colour, and down, the embedding, without headers.

    Args:
        encoder: for its sizes.
        form: of the embedding on the wire: float32, float16 or int8 (as in `wire`).
    """
    tokens = (encoder.img_size // encoder.patch_embed.proj.kernel_size[0]) ** 2
    channels = encoder.neck[0].out_channels
    scales = 4 * tokens if form == "int8" else 0
    return 3 * encoder.img_size**2, tokens * channels * TYPES[form].itemsize + scales
