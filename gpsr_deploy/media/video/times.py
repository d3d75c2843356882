"""When packets are decoded, from when their frames are shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def decode_times(shown: Sequence[int]) -> list[int]:
    """A decoding time for each packet, rising, none after the packet's own time in `shown`, all in the same ticks.

    `shown` are the times of the packets' frames in the order of the packets, all different. They wait for no longer than
    their order needs: where that is the frames' own, each is decoded when it is shown.
    """
    ordered = sorted(shown)
    rank = {time: index for index, time in enumerate(ordered)}
    delay = max((index - rank[time] for index, time in enumerate(shown)), default=0)
    step = ordered[1] - ordered[0] if delay else 0
    return [
        ordered[index - delay] if index >= delay else ordered[0] - (delay - index) * step for index in range(len(shown))
    ]
