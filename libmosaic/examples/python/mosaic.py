# SPDX-License-Identifier: MIT OR Apache-2.0
"""libmosaic for Python, by ctypes: as much of it as the example beside it needs."""

import contextlib
import ctypes
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint64, c_ulong, c_void_p

_library = ctypes.CDLL("libmosaic.so.1", use_errno=True)

NOT_FOUND = 3
EXISTS = 4
BUSY = 5
UNSUPPORTED = 6


class Error(Exception):
    """What a call failed with; kind is one of enum mosaic_error_kind."""

    def __init__(self):
        super().__init__(_library.mosaic_last_error().decode())
        self.kind = _library.mosaic_last_error_kind()


class _VolumeInfo(ctypes.Structure):
    """The first members of struct mosaic_vol_info, which grows at its end only."""

    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("stored", c_char_p),
        ("origin", c_char_p),
        ("kind", c_int),
        ("access", c_int),
        ("fs", c_char_p),
        ("fs_assumed", c_int),
        ("read_only", c_int),
        ("size_bytes", c_uint64),
    ]


_volume_fn = ctypes.CFUNCTYPE(c_int, POINTER(_VolumeInfo), c_void_p)


def _pointer(result, function, arguments):
    if not result:
        raise Error()
    return result


def _number(result, function, arguments):
    if result < 0:
        raise Error()
    return result


def _declare(name, result, *arguments):
    function = getattr(_library, name)
    function.argtypes = arguments
    function.restype = result
    if result is c_void_p:
        function.errcheck = _pointer
    elif result is c_int and name != "mosaic_last_error_kind":
        function.errcheck = _number
    return function


_declare("mosaic_last_error", c_char_p)
_declare("mosaic_last_error_kind", c_int)
_open = _declare("mosaic_open", c_void_p, c_char_p, c_int)
_close = _declare("mosaic_close", None, c_void_p)
_have = _declare("mosaic_have_vol", c_int, c_void_p, c_char_p, c_int)
_make_fs = _declare("mosaic_make_vol_fs", c_int, c_void_p, c_char_p, c_ulong, c_int)
_list = _declare("mosaic_list_vols", c_int, c_void_p, _volume_fn, c_void_p, c_int)
_open_vol = _declare("mosaic_open_vol", c_void_p, c_void_p, c_char_p, c_int)
_close_vol = _declare("mosaic_close_vol", None, c_void_p)
_mount = _declare("mosaic_mount_vol_opts", c_int, c_void_p, c_char_p, c_char_p)
_umount = _declare("mosaic_umount_vol", c_int, c_void_p, c_char_p, c_int)
_clone = _declare("mosaic_clone_vol", c_int, c_void_p, c_char_p, c_int)
_drop = _declare("mosaic_drop_vol", c_int, c_void_p, c_int)


class Mosaic:
    """An open mosaic."""

    def __init__(self, name):
        self._handle = _open(name.encode(), 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _close(self._handle)

    def __contains__(self, name):
        return _have(self._handle, name.encode(), 0) == 1

    def make_fs(self, name, size):
        """Makes a volume with a file system of so many bytes."""
        _make_fs(self._handle, name.encode(), size // 512, 0)

    def volume(self, name):
        """Opens a volume."""
        return Volume(_open_vol(self._handle, name.encode(), 0))

    def volumes(self):
        """The names and sizes of all volumes."""
        found = []

        @_volume_fn
        def take(info, _):
            found.append((info.contents.name.decode(), info.contents.size_bytes))
            return 0

        _list(self._handle, take, None, 0)
        return found


class Volume:
    """An open volume."""

    def __init__(self, handle):
        self._handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _close_vol(self._handle)

    @contextlib.contextmanager
    def mounted(self, at):
        """Mounts it at a folder, and takes the mount away at the end.

        It is mounted nosuid and nodev: who writes into the volume gets no rights by that.
        """
        _mount(self._handle, at.encode(), None)
        try:
            yield at
        finally:
            _umount(self._handle, at.encode(), 0)

    def clone(self, name):
        """Makes a volume of what this one holds now."""
        _clone(self._handle, name.encode(), 0)

    def drop(self):
        """Destroys it."""
        _drop(self._handle, 0)
