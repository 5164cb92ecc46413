"""Which blocks run on servers and which on the edge, round by round.

A windowed block needs nothing from outside its window, a global one needs all tokens. The exact
schedule keeps SAM's order: servers run windowed blocks up to the next global one, which the edge
runs, and so on. The pixels-once schedule sends pixels once, has every windowed block run in a row,
and runs the global blocks afterwards: one round, another function than SAM's.
Source: arXiv 2512.09309 (exact); the pixels-once schedule is ours.
"""

from dataclasses import dataclass

from segment_anything.modeling import ImageEncoderViT


@dataclass(frozen=True)
class Round:
    """One exchange with the servers.

    Attributes:
        server_blocks: windowed blocks that the servers run, in order; the first round may have
            none, where pixels are only embedded.
        edge_blocks: global blocks that the edge runs after them, in order.
        pixels: servers get pixels and embed them; otherwise they get tokens.
    """

    server_blocks: tuple[int, ...]
    edge_blocks: tuple[int, ...]
    pixels: bool


def rounds(encoder: ImageEncoderViT, schedule: str) -> tuple[Round, ...]:
    """Rounds of an encoder under a schedule.

    Raises:
        ValueError: unknown schedule.
    """
    windowed = [block.window_size > 0 for block in encoder.blocks]
    if schedule == "pixels_once":
        server = tuple(k for k, is_windowed in enumerate(windowed) if is_windowed)
        edge = tuple(k for k, is_windowed in enumerate(windowed) if not is_windowed)
        return (Round(server, edge, pixels=True),)
    if schedule != "exact":
        raise ValueError(f"schedule={schedule!r}: valid are exact and pixels_once")
    parts: list[tuple[list[int], list[int]]] = [([], [])]
    for k, is_windowed in enumerate(windowed):
        if is_windowed and parts[-1][1]:
            parts.append(([], []))
        parts[-1][0 if is_windowed else 1].append(k)
    return tuple(
        Round(tuple(server), tuple(edge), pixels=number == 0)
        for number, (server, edge) in enumerate(parts)
    )
