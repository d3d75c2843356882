"""libgpsr through ctypes: what calling it from another language takes."""

import ctypes
import os

import numpy as np

TYPES = {np.dtype(np.uint8): 1, np.dtype(np.uint16): 2, np.dtype(np.float32): 4}
"""GPSR_U8, GPSR_U16, GPSR_F32."""


class OpenOptions(ctypes.Structure):
    """gpsr_open_options."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t), ("device", ctypes.c_char_p), ("scale", ctypes.c_int32), ("threads", ctypes.c_int32),
        ("precision", ctypes.c_char_p),
    ]  # fmt: skip


class Spec(ctypes.Structure):
    """gpsr_spec."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        *((name, ctypes.c_char_p) for name in ("name", "runtime", "device", "dtype", "checkpoint_sha256")),
        *((name, ctypes.c_int32) for name in ("scale", "halo", "multiple_of", "tileable", "has_profile")),
        *((f"{limit}_{side}", ctypes.c_int32) for limit in ("min", "opt", "max") for side in ("height", "width")),
        ("batch", ctypes.c_int32),
        ("precision", ctypes.c_char_p),
    ]


class Picture(ctypes.Structure):
    """gpsr_picture."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t), ("pixels", ctypes.c_void_p), ("height", ctypes.c_int64), ("width", ctypes.c_int64),
        ("stride", ctypes.c_int64), ("type", ctypes.c_int32), ("channels", ctypes.c_int32), ("order", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    ]  # fmt: skip


PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
"""gpsr_progress: (user, tiles done, tiles in all) -> zero to go on."""


class RunOptions(ctypes.Structure):
    """gpsr_run_options."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t), ("tile_height", ctypes.c_int64), ("tile_width", ctypes.c_int64),
        ("halo", ctypes.c_int64), ("has_halo", ctypes.c_int32), ("whole", ctypes.c_int32), ("batch", ctypes.c_int64),
        ("progress", PROGRESS), ("user", ctypes.c_void_p),
    ]  # fmt: skip


class Cut(ctypes.Structure):
    """gpsr_cut."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        *((name, ctypes.c_int64) for name in ("tiles", "tile_height", "tile_width", "halo")),
    ]


def sized(kind, **values):
    """A structure that states its size."""
    return kind(struct_size=ctypes.sizeof(kind), **values)


def picture(pixels, **values):
    """A view of an array of rows that may be strided."""
    height, width = pixels.shape[:2]
    found = {
        "pixels": pixels.ctypes.data, "height": height, "width": width, "stride": pixels.strides[0],
        "type": TYPES[pixels.dtype], "channels": pixels.shape[2] if pixels.ndim == 3 else 1,
    }  # fmt: skip
    return sized(Picture, **found | values)


class Refused(Exception):
    """A status other than GPSR_OK, and its line."""

    def __init__(self, status, line):
        super().__init__(line)
        self.status, self.line = status, line
        assert line.isprintable()
        assert line.startswith(f"error[{status}]")


class Library:
    """libgpsr, loaded."""

    def __init__(self, path):
        self.c = ctypes.CDLL(str(path))
        self.c.gpsr_version.restype = self.c.gpsr_runtimes.restype = self.c.gpsr_error.restype = ctypes.c_char_p
        self.c.gpsr_get_cut.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        for name, count in (("open", 3), ("close", 1), ("error", 1), ("get_spec", 2), ("upscale", 4)):
            getattr(self.c, f"gpsr_{name}").argtypes = [ctypes.c_void_p] * count
        self.c.gpsr_open.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]

    def open(self, path, **options):
        """The model at `path`; options are gpsr_open_options'. Raises Refused."""
        return Model(self, path, options)


class Model:
    """One opened model, in a `with`."""

    def __init__(self, library, path, options):
        self.c, self.handle = library.c, ctypes.c_void_p()
        wanted = sized(OpenOptions, **{"threads": 1} | options)
        try:
            self.check(self.c.gpsr_open(os.fsencode(path), ctypes.byref(wanted), ctypes.byref(self.handle)))
            self.spec = sized(Spec)
            self.check(self.c.gpsr_get_spec(self.handle, ctypes.byref(self.spec)))
        except Refused:
            self.close()
            raise

    def check(self, status):
        """Raises Refused for a status other than GPSR_OK."""
        if status:
            raise Refused(status, self.c.gpsr_error(self.handle).decode())

    def upscale(self, lr, *, sr=None, **options):
        """`lr` enlarged, into `sr` or a new array; `order` is that of both, the rest gpsr_run_options'. Raises Refused."""
        order = options.pop("order", (0, 0))
        if sr is None:
            height, width = (side * self.spec.scale for side in lr.shape[:2])
            sr = np.empty((height, width, *lr.shape[2:]), lr.dtype)
        taken, given = picture(lr, order=order[0]), picture(sr, order=order[1])
        run = sized(RunOptions, **options)
        self.check(self.c.gpsr_upscale(self.handle, ctypes.byref(taken), ctypes.byref(given), ctypes.byref(run)))
        return sr

    def cut(self, height, width, **options):
        """How a picture of this size would be cut."""
        found, run = sized(Cut), sized(RunOptions, **options)
        self.check(self.c.gpsr_get_cut(self.handle, height, width, ctypes.byref(run), ctypes.byref(found)))
        return found

    def close(self):
        """Frees the model."""
        self.c.gpsr_close(self.handle)
        self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
