"""What tests find around them: one environment, signals and random numbers on every machine, and no GPU unless they need one."""

import fnmatch
import os
import random
import signal
import sys

import numpy as np

PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "VIRTUAL_ENV"),  # where things lie
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "?SAN_OPTIONS", "UBSAN_OPTIONS", "CC", "CXX", "NIX_*", "CUDA_*", "NVIDIA_*"),
    *("*_proxy", "*_PROXY", "SSL_CERT_*", "*_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "PIP_*", "npm_config_*"),
    *("PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
    *("PYTEST_*", "COV_*", "COVERAGE_*", "CI", "BUILD_NUMBER", "GPSR_*"),
)
"""Variables that tests, and what they start, may see. Were it all of them, whoever has set COLUMNS, ENCODER, FFREPORT, MAKEFLAGS,
PYTHONDEVMODE, PYTHONPATH, TQDM_DISABLE or WORLD_SIZE would run other tests than everybody else."""

GIVEN = {
    "GLOO_SOCKET_IFNAME": "lo",  # and not the network that this machine's name leads to
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",  # pictures are tiny: threads would spin for each other, ten times as long as the work if it is busy
    "TERM": "xterm",
    "TF_BUILD": "1",  # on such a machine `import openvino` sends nobody a word; else it forks, keeps files in HOME and calls home
    "TZ": "UTC",
}


def settle() -> None:
    """Gives this process, and all that it starts, the surroundings that tests are written for."""
    kept = {name: os.environ[name] for name in os.environ if any(fnmatch.fnmatchcase(name, wild) for wild in PASSED_ON)}
    os.environ.clear()
    os.environ.update(kept | GIVEN)
    # A shell lets what it starts in the background ignore SIGINT, and children of that would ignore it too.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def hide_gpus() -> None:
    """For a run without a test that needs a GPU: else `auto` would be another device on a machine that has one."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def seed() -> None:
    """Begins all global random numbers anew, so that a test gets the same whichever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
