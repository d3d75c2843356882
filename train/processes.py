"""The processes of a run: one, or those that torchrun started. What they must agree on is agreed on here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from gpsr_deploy.errors import BackendUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """How many processes train together, and which of them this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def sums(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Sums over all processes, the same in each."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        found: list[float] = total.tolist()
        return found

    def same(self, value: float, device: torch.device) -> bool:
        """Whether `value` is the same in all processes."""
        if self.size == 1:
            return True
        extremes = torch.tensor([value, -value], dtype=torch.float64, device=device)
        distributed.all_reduce(extremes, op=distributed.ReduceOp.MAX)
        return bool(extremes[0] == -extremes[1])

    def wait(self) -> None:
        """Returns when all processes have come here: none may end while another still needs it."""
        if self.size > 1:
            distributed.barrier()

    def close(self) -> None:
        """Leaves the others."""
        if self.size > 1:
            distributed.destroy_process_group()


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """Joins the processes that torchrun started, if it did, and names the device of this one.

    Raises BackendUnavailable where there is no such GPU.
    """
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count() * torch.cuda.is_available():
        raise BackendUnavailable(f"there is no GPU {device}", remedy="--device cpu")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Processes(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Processes(rank=distributed.get_rank(), size=size), device


class WithMaps(torch.nn.Module):
    """A network whose forward pass returns what the loss needs, for torch.compile and DistributedDataParallel."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        found: tuple[Tensor, list[Tensor]] = self.network.forward_with_maps(lr)
        return found
