"""The 8-fold self-ensemble (GPSR+): a backend around a backend. Pure array work."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from gpsr_deploy.backends import Backend, Batch, infer_each


class SelfEnsemble:
    """Averages what the inner backend makes of a batch's eight flips and rotations, each turned back.

    Flips of a tile stay on the network's grid, so this is the same tile by tile as for the whole picture.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.spec = inner.spec
        self.profile = None if inner.profile is None else inner.profile.either_way_up()
        self.runtime = inner.runtime
        self.precision = inner.precision
        self.device = inner.device
        self.bytes_per_pixel = inner.bytes_per_pixel + 2 * 4 * 3 * inner.spec.scale**2

    def infer(self, batch: Batch) -> Batch:
        """See Backend.infer."""
        ways = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
        turned = (
            np.ascontiguousarray(np.rot90(batch[..., ::-1] if mirrored else batch, turns, axes=(2, 3)))
            for turns, mirrored in ways
        )
        total: Batch | None = None
        for (turns, mirrored), found in zip(ways, infer_each(self._inner, turned), strict=True):
            result = np.rot90(found, -turns, axes=(2, 3))
            result = result[..., ::-1] if mirrored else result
            total = result.copy() if total is None else np.add(total, result, out=total)
        assert total is not None
        return np.divide(total, np.float32(8), out=total)

    def close(self) -> None:
        """Closes the inner backend."""
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
