"""A network whose result depends on every pixel around, and that can run out of memory."""

from dataclasses import dataclass, field

import numpy as np

from gpsr_deploy.errors import OutOfMemory
from gpsr_deploy.spec import SRSpec

SCALE = 4


@dataclass
class Neighbours:
    """Each pixel with its neighbours to the right and below, repeated: bit for bit the same wherever a tile begins."""

    max_pixels: int = 1 << 40
    """Memory runs out above so many pixels of a batch ..."""
    enough_for: int = 0
    """... once so many batches were run."""
    runtime: str = "neighbours"
    precision: str = "fp32"
    device: str = "cpu"
    profile: None = None
    bytes_per_pixel: int = 1000
    shapes: list = field(default_factory=list)
    spec: SRSpec = SRSpec(
        name="neighbours",
        scale=SCALE,
        halo=3,
        multiple_of=3,
        tiling="aligned",
        dtype="fp32",
        checkpoint_sha256="0" * 64,
    )

    def infer(self, batch):
        self.shapes.append(batch.shape)
        if len(self.shapes) > self.enough_for and batch.shape[2] * batch.shape[3] > self.max_pixels:
            raise OutOfMemory("no memory for so large a batch")
        padded = np.pad(batch, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge")
        mean = (batch + padded[:, :, 1:, :-1] + padded[:, :, :-1, 1:]) / np.float32(3)
        return mean.repeat(SCALE, axis=2).repeat(SCALE, axis=3)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
