"""The command line of train.py: what can be asked for, and the recipe that it amounts to."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch

from gpsr_deploy.cli.arguments import Parser, not_negative, not_negative_float, positive, positive_float
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.network.family import MULTIPLE_OF, PARTS
from losses import ALPHA, BETA
from state import Recipe


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description="Train a GPSR network.", formatter_class=Help)
    parser.add_argument("--model", choices=["gpsr", "lite", "nano"], default="nano")
    parser.add_argument("--scale", type=int, choices=[4, 8], default=4)
    parser.add_argument("--out", type=Path, required=True, help="folder of this run; an existing run goes on")

    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        required=True,
        help="a folder of pictures, of tar shards, or DIV2K as downloaded; or one .tar or .zip",
    )
    data.add_argument("--validation", type=Path, help="the same for validation, instead of a part of --data")
    data.add_argument(
        "--degradation", choices=["bi", "bd", "bd7"], default="bi", help="how LR is made: train/degradations.py"
    )

    length = parser.add_argument_group("length").add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=positive_float, help="the cosine ends when so much time was spent in steps")
    length.add_argument("--steps", type=positive, help="the cosine ends at this step")

    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--batch", type=positive, default=16, help="LR patches per step, over all processes")
    recipe.add_argument("--patch", type=positive, default=24, help="LR pixels per side of a patch, a multiple of 3")
    recipe.add_argument("--learning-rate", type=positive_float, default=1e-3, help="peak of the cosine")
    recipe.add_argument("--warmup", type=positive, default=200, help="steps")
    recipe.add_argument("--clip", type=positive_float, default=1.0, help="largest norm of the gradient")
    recipe.add_argument("--ema", type=positive_float, default=0.999, help="decay of the averaged weights per step")
    recipe.add_argument("--seed", type=not_negative, default=0)
    recipe.add_argument("--start", type=Path, help="a checkpoint of the same network to start from, not bicubic")
    recipe.add_argument("--teacher", type=Path, help="a checkpoint of any member at this scale to learn from as well")
    recipe.add_argument("--teacher-weight", type=positive_float, default=1.0, help="of L1(SR, teacher's SR)")

    ablations = parser.add_argument_group("ablations (Tables 2 and 3 of the paper)")
    ablations.add_argument("--no-gradient-branch", action="store_true", help="the SR branch alone")
    ablations.add_argument("--no-lrsam", action="store_true", help="no spatial attention in the SR branch")
    ablations.add_argument("--no-crfs", action="store_true", help="no gate over the SR branch's residual branches")
    ablations.add_argument("--plain-blocks", action="store_true", help="both: plain residual blocks in the SR branch")
    ablations.add_argument("--alpha", type=not_negative_float, default=ALPHA, help="weight of the loss's gradient maps")
    ablations.add_argument("--beta", type=not_negative_float, default=BETA, help="weight of the gradient of SR")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda[:i]")
    machine.add_argument("--threads", type=positive, help="CPU threads; all where it is not given")
    machine.add_argument("--bf16", action="store_true", help="bfloat16 autocast in the forward pass")
    machine.add_argument(
        "--compile", action="store_true", help="torch.compile: faster steps on a GPU, a minute to start"
    )
    machine.add_argument(
        "--channels-last", action=argparse.BooleanOptionalAction, default=True, help="layout of weights and activations"
    )

    seeing = parser.add_argument_group("seeing it")
    seeing.add_argument(
        "--every", type=positive, default=500, help="steps between validations with checkpoint and sheet"
    )
    seeing.add_argument("--tensorboard", action="store_true", help="log to OUT/tensorboard as well")
    seeing.add_argument("--split-time", action="store_true", help="at the end, print where the time of the steps went")
    options = parser.parse_args(arguments)
    if options.patch % MULTIPLE_OF:
        parser.error(f"--patch {options.patch}: expected a multiple of {MULTIPLE_OF}")
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", options.device):
        parser.error(f"--device {options.device}: expected cpu, cuda or cuda:INDEX")
    if options.seed >= 1 << 63:
        parser.error(f"--seed {options.seed}: expected a number below 2^63")
    if options.ema >= 1:
        parser.error(f"--ema {options.ema}: expected a number below 1")
    return options


class Help(argparse.HelpFormatter):
    """Adds the default of an option to its help, where it has one that says something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says = action.help and not any(action.default is silent for silent in (None, False, True, argparse.SUPPRESS))
        return f"{action.help} (default %(default)s)" if says else action.help


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe that a command line asks for. Raises GpsrError for a checkpoint that cannot be read."""
    left_out = {
        "gradient_branch": options.no_gradient_branch,
        "lrsam": options.no_lrsam or options.plain_blocks,
        "crfs": options.no_crfs or options.plain_blocks,
    }

    def sha256(path: Path | None) -> str | None:
        return checkpoint_file.read_info(path).sha256 if path else None

    return Recipe(
        model=options.model,
        scale=options.scale,
        without=tuple(part for part in PARTS if left_out[part]),
        degradation=options.degradation,
        batch=options.batch,
        patch=options.patch,
        learning_rate=options.learning_rate,
        warmup=options.warmup,
        clip=options.clip,
        ema=options.ema,
        alpha=options.alpha,
        beta=options.beta,
        start=sha256(options.start),
        teacher=sha256(options.teacher),
        teacher_weight=options.teacher_weight,
        seed=options.seed,
        bf16=options.bf16,
    )
