"""What the exact folds save, for every member of the family: `python benchmarks/folds.py`."""

from __future__ import annotations

from gpsr_deploy.network.family import CONFIGS
from gpsr_deploy.network.folds import fold
from gpsr_deploy.network.gpsr import GPSR
from gpsr_deploy.network.sizes import count_macs, count_parameters


def main() -> None:
    """Prints a Markdown table; multiply-adds are those of one 1280x720 SR picture."""
    print("| network | parameters | multiply-adds, as trained | folded | saved |")
    print("|---|---|---|---|---|")
    for (member, scale), config in CONFIGS.items():
        network = GPSR(config)
        trained, folded = count_macs(network), count_macs(fold(network))
        print(
            f"| {member} x{scale} | {count_parameters(network):,} | {trained / 1e9:.1f} G | {folded / 1e9:.1f} G "
            f"| {1 - folded / trained:.1%} |"
        )


if __name__ == "__main__":
    main()
