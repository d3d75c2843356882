"""Checkpoints in torch: the network as it was trained, the reference for everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from gpsr_deploy.backends import UNMEASURED_HALO, Batch, failure, sr_shape
from gpsr_deploy.errors import BackendUnavailable, OutOfMemory, UsageError
from gpsr_deploy.spec import Precision, Profile, SRSpec

try:
    import torch
except ImportError as error:
    raise BackendUnavailable(
        "torch is not installed",
        expected="it for .safetensors models",
        remedy="pip install gpsr-deploy[train], or an .onnx model",
    ) from error

from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.network.family import MULTIPLE_OF
from gpsr_deploy.network.folds import fold
from gpsr_deploy.network.gpsr import GPSR

LIVE_MAPS = 14
"""How many maps of the widest decoder are alive at once; measured."""


class TorchBackend:
    """One network on one device. Shapes may change from batch to batch."""

    runtime = "torch"
    precision: Precision = "fp32"
    profile: Profile | None = None

    def __init__(
        self, network: GPSR, spec: SRSpec, *, device: str = "auto", threads: int | None = None, folded: bool = False
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendUnavailable(
                "torch finds no CUDA device", expected="a GPU with its driver", remedy="--device cpu"
            )
        self.device = device
        self.spec = spec
        self._threads = threads
        self._network: GPSR | None = (fold(network) if folded else network).eval().to(device)
        config = network.config
        widest = max(config.decoder_width(level) << (2 * (level - 1)) for level in range(1, config.levels + 1))
        self.bytes_per_pixel = 4 * LIVE_MAPS * widest

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        on_warning: Callable[[str], object] | None = None,
    ) -> Self:
        """The checkpoint at `path`. Raises InputUnreadable, ModelRefused or BackendUnavailable."""
        network, info = checkpoint_file.load(path)
        for warning in info.warnings:
            if on_warning is not None:
                on_warning(warning)
        spec = SRSpec(
            name=info.name,
            scale=info.scale,
            halo=UNMEASURED_HALO,
            multiple_of=MULTIPLE_OF,
            tiling="aligned",
            dtype="fp32",
            checkpoint_sha256=info.sha256,
        )
        return cls(network, spec, device=device, threads=threads)

    def infer(self, batch: Batch) -> Batch:
        """See Backend.infer."""
        if self._network is None:
            raise UsageError("the backend is closed", expected="one inside its `with`")
        sr_shape(batch, self.spec)
        threads = torch.get_num_threads()
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                result: Batch = self._network(torch.from_numpy(batch.copy()).to(self.device)).cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(f"no GPU memory for a batch of {batch.shape}", remedy="a smaller --tile") from error
        except (MemoryError, RuntimeError) as error:
            raise failure(self.runtime, batch, error, bytes_per_pixel=self.bytes_per_pixel) from error
        finally:
            torch.set_num_threads(threads)
        return result

    def close(self) -> None:
        """See Backend.close."""
        self._network = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
