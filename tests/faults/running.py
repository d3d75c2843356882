"""Provoking one fault in a process of its own, and checking what came of it."""

from __future__ import annotations

import os
import pty
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from own_time import OwnTime
from project import ROOT

from faults.fault import Circumstances, Content, Fault

DROPPED = "-dac_override,-dac_read_search"
"""Capabilities by which root may do what permissions deny."""

UNPRIVILEGED = ["setpriv", f"--bounding-set={DROPPED}", f"--inh-caps={DROPPED}"]

LARGEST = 64 << 20
"""Bytes of a file that is compared byte by byte."""

NEVER = (
    "Traceback",
    "Fatal Python error",
    "terminate called",
    "Segmentation",
    "core dumped",
    "VIPS-",
    "GLib",
    "Exception ignored",
)
"""What no user should read, whatever happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a process left behind, but for files."""

    code: int
    """As subprocess tells: -N for a death by the signal N."""
    stdout: str
    stderr: str
    seconds: float
    after: float
    """Seconds from the signal on, where one was sent: those that the process took by itself, however busy the machine."""


def provoke(fault: Fault, folder: Path) -> Ended:
    """Arranges the fault in the empty `folder`, runs its command there, and asserts all that it states."""
    with ExitStack() as stack:
        for name, options in fault.around.disks.items():
            (folder / name).mkdir(parents=True)
            stack.enter_context(small_disk(folder / name, options))
        for name, content in fault.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(made(content))
        if fault.arrange:
            fault.arrange(folder)
        for name in fault.around.frozen:
            subprocess.run(["mount", "-o", "remount,ro", str(folder / name)], check=True)
        before = snapshot(folder)
        ended = run(fault, folder)
        require_said(fault, ended)
        require_left(fault, before, snapshot(folder))
        if fault.after:
            fault.after(folder)
    return ended


def made(content: Content) -> bytes:
    """The bytes themselves."""
    return content if isinstance(content, bytes) else content()


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own at `folder`, which goes at the end with all that is in it. Skips the test where that is denied."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("small file systems can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def snapshot(folder: Path) -> dict[str, object]:
    """What lies in `folder` and below: the content of regular files, the target of links, the kind of all else."""
    found: dict[str, object] = {}
    for place, folders, names in os.walk(folder):
        for path in (Path(place, name) for name in [*folders, *names]):
            name, mode = str(path.relative_to(folder)), mode_of(path)
            if mode is None:
                found[name] = "denied"
            elif stat.S_ISLNK(mode):
                found[name] = f"a link to {os.readlink(path)}"
            elif stat.S_ISREG(mode):
                found[name] = content_of(path)
            elif not stat.S_ISDIR(mode):
                found[name] = f"of kind {stat.S_IFMT(mode):o}"
    return found


def mode_of(path: Path) -> int | None:
    """Of what lies there; None in a folder that one can list and not enter, where only root learns more."""
    try:
        return path.lstat().st_mode
    except PermissionError:
        return None


def content_of(path: Path) -> object:
    """What is compared of a regular file."""
    if not os.access(path, os.R_OK):
        return "denied"
    size = path.stat().st_size
    return path.read_bytes() if size <= LARGEST else f"{size} bytes"


# Running


def run(fault: Fault, folder: Path) -> Ended:
    """The command's end. A command that does not end in time is killed and fails the test."""
    around = fault.around
    with ExitStack() as stack:
        terminal = stack.enter_context(Terminal()) if around.terminal else None
        process = stack.enter_context(
            subprocess.Popen(
                command_of(fault),
                cwd=folder,
                env=environment_of(around),
                stdin=subprocess.DEVNULL,
                stdout=stack.enter_context(open(around.stdout, "wb")) if around.stdout else subprocess.PIPE,
                stderr=terminal.inner if terminal else subprocess.PIPE,
            )
        )
        stack.callback(process.kill)
        begin, own = time.monotonic(), None
        if fault.signal:
            own = stack.enter_context(send(fault, process, folder))
        try:
            stdout, stderr = process.communicate(timeout=fault.within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it still runs after {fault.within} s")
        seconds = time.monotonic() - begin
        said = terminal.said() if terminal else stderr
        return Ended(
            code=process.returncode,
            stdout=text(stdout),
            stderr=text(said),
            seconds=seconds,
            after=own.seconds if own else 0.0,
        )


def command_of(fault: Fault) -> list[str]:
    """The command line."""
    wrapper = UNPRIVILEGED if fault.around.unprivileged and os.geteuid() == 0 else []
    if wrapper and shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and there is no setpriv to make it otherwise")
    if fault.around.prelude:
        end = "import sys\nfrom gpsr_deploy.cli import main\nsys.exit(main())\n"
        program = ["-c", f"{fault.around.prelude}\n{end}"]
    else:
        program = ["-m", fault.program] if fault.program == "gpsr_deploy" else [str(ROOT / fault.program)]
    return [*wrapper, *limited(fault.around), sys.executable, *program, *fault.command]


def limited(around: Circumstances) -> list[str]:
    """What runs the rest of a command line within limits and with descriptors closed; not in Python, which has threads here."""
    limits = [f"--{name}={most}" for name, most in around.limits.items()]
    closed = " ".join(f"{descriptor}>&-" for descriptor in around.closed)
    return [*(["prlimit", *limits] if limits else []), *(["sh", "-c", f'exec "$@" {closed}', "sh"] if closed else [])]


def environment_of(around: Circumstances) -> dict[str, str]:
    """The tests' own environment with the changes."""
    wanted = os.environ | {"OMP_NUM_THREADS": "1"} | around.environment
    return {name: value for name, value in wanted.items() if value is not None}


def text(content: bytes | None) -> str:
    """What was said, as text."""
    return (content or b"").decode("utf-8", "backslashreplace").replace("\r\n", "\n")


@contextmanager
def send(fault: Fault, process: subprocess.Popen[bytes], folder: Path) -> Iterator[OwnTime]:
    """Sends the fault's signal when it is time; within: watches how long the process takes from then on."""
    assert fault.signal
    give_up = time.monotonic() + fault.within
    while not fault.signal.when(process.pid, folder):
        if process.poll() is not None or time.monotonic() > give_up:
            pytest.fail(f"the moment for the signal never came; the command ended with {process.poll()}")
        time.sleep(0.002)
    with OwnTime(process.pid) as own:
        process.send_signal(fault.signal.number)
        if fault.signal.again is not None:
            time.sleep(fault.signal.again)
            with suppress(ProcessLookupError):
                process.send_signal(fault.signal.number)
        yield own


class Terminal:
    """A terminal for a process's stderr, and what is said there."""

    def __init__(self) -> None:
        self._outer, self.inner = pty.openpty()
        self._open = True
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # EIO: the last one who held the inner end has closed it
            while chunk := os.read(self._outer, 65536):
                self._chunks.append(chunk)

    def said(self) -> bytes:
        """All of it, once the process has ended."""
        os.close(self.inner)
        self._open = False
        self._reader.join(60)
        return b"".join(self._chunks)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            os.close(self.inner)
        os.close(self._outer)


# Checking


def require_said(fault: Fault, ended: Ended) -> None:
    """Exit code, the words on stderr, and what was printed."""
    told = f"exit code {ended.code}\nstdout: {ended.stdout[-500:]}\nstderr: {ended.stderr[-1500:]}"
    assert ended.code == fault.code, told
    for word in NEVER:
        assert word not in ended.stderr + ended.stdout, told
    assert fault.says in ended.stderr, told
    assert fault.prints in ended.stdout, told
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("warning: ")]
    silent = 2 in fault.around.closed or fault.around.terminal  # on a terminal there are bars, too
    if fault.code in range(1, 8) and not silent:
        assert len(lines) == 1, told
    if fault.code in range(1, 9) and not silent:
        assert lines, told
        assert lines[-1].startswith(f"error[{fault.code}]"), told
        assert lines[-1].isprintable(), told
    if fault.code == 0:
        assert "error[" not in ended.stderr, told
    elif not fault.prints:
        assert not ended.stdout, told
    if fault.signal:
        assert ended.after < fault.signal.within, f"{ended.after:.1f} s of its own after the signal"


def require_left(fault: Fault, before: dict[str, object], after: dict[str, object]) -> None:
    """What became of every file of the folder."""
    for name, check in fault.leaves.items():
        if check is None:
            assert name not in after, f"{name} is there"
        else:
            assert name in after, f"{name} is not there, but {sorted(after)}"
            content = after[name]
            assert isinstance(content, bytes), f"{name} is {content}"
            check(content)
    others = after.keys() | before.keys()
    others -= fault.leaves.keys()
    others = {name for name in others if not fault.others_in or not name.startswith(f"{fault.others_in}/")}
    assert {name for name in others if name not in before} == set(), "files that nobody asked for"
    changed = {name for name in others if after.get(name) != before[name]}
    assert not changed, f"changed or gone: {changed}"
