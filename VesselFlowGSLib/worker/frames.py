"""One snapshot as one file of plain arrays (.npz), written whole or not at all. Needs numpy alone.

Floats are stored in single precision, whole numbers in 32 bits where they fit: a frame is for display and sampling.
What a run can go on from (Snapshot.checkpoint) is not in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results import snapshot as kinds
from VesselFlowGSLib.results.snapshot import Snapshot

FORMAT = 1
HEADER, DATA = "header", "data"
ALWAYS = ("stage", "progress", "message", "shape")
NOT_STORED = ("checkpoint",)

# what numpy, zipfile, zlib and json say of a damaged file
UNREADABLE = (
    EOFError, ValueError, TypeError, LookupError, NotImplementedError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

_DATACLASSES = {
    kind.__name__: kind
    for kind in (
        kinds.Figure,
        kinds.Surface,
        kinds.Polylines,
        kinds.VolumeMesh,
        kinds.CloudArrays,
        kinds.Phase,
        kinds.Finding,
        kinds.ViewMatch,
        kinds.Snapshot,
    )
}
_ENUMS: dict[str, type[Enum]] = {kind.__name__: kind for kind in (kinds.Stage, kinds.FindingKind)}
_STORED = tuple(f.name for f in dataclasses.fields(Snapshot) if f.name not in NOT_STORED)


def write_frame(path: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Write the snapshot under a temporary name in the same folder, then give the file its name.

    Raises OSError where the folder cannot be written or the disk is full; then nothing is left.
    """
    path = Path(path)
    arrays: list[NDArray[Any]] = []
    content = {name: _encoded(getattr(snapshot, name), arrays) for name in _STORED}
    places, data = _packed(arrays)
    header = json.dumps({"vesselflowgs_frame": FORMAT, "snapshot": content, "arrays": places})
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as file:
            # no fsync: what a power cut tears is a picture of seconds ago, and the next one comes in seconds
            np.savez(file, header=np.frombuffer(header.encode(), np.uint8), data=data)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def read_frame(
    path: str | os.PathLike[str], parts: Collection[str] | None = None, held: Held | None = None
) -> Snapshot:
    """The snapshot that a frame holds.

    parts  names of the Snapshot's fields that are wanted, None for all; stage, progress, message and shape always come.
           What is not wanted is not read and has its default.
    held   arrays of the frame before, as the last call left them: what has not changed is not read again
    Raises FileNotFoundError, and InputError where the file is damaged or is no frame.
    """
    if parts is not None:
        unknown = set(parts) - set(_STORED)
        if unknown:
            raise ValueError(f"a snapshot's frame has no part {', '.join(sorted(unknown))}")
    wanted = set(_STORED) if parts is None else {*parts, *ALWAYS}
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            header = json.loads(bytes(stored[HEADER]))
            if header["vesselflowgs_frame"] != FORMAT:
                raise InputError(f"{Path(path).name}: a frame of another version of VesselFlowGS.")
            content = header["snapshot"]
            arrays = _Arrays(file, _begin_of(stored.zip, file), header["arrays"], {} if held is None else held)
            snapshot = Snapshot(**{name: _decoded(content[name], arrays) for name in wanted if name in content})
            if held is not None:
                held.clear()
                held.update(arrays.used)
            return snapshot
    except UNREADABLE as error:
        raise InputError(f"{Path(path).name}: no frame of ours, or damaged.") from error


# arrays by checksum, dtype and shape
Held = dict[tuple[Any, ...], NDArray[Any]]


@dataclass(frozen=True)
class _Arrays:
    """The arrays of a frame, each read from its place in the file when it is asked for.

    The zip's own way reads and sums up every byte: too slow for a thread that draws.
    """

    file: IO[bytes]
    begin: int
    places: Sequence[Mapping[str, Any]]
    held: Held
    used: Held = dataclasses.field(default_factory=dict)

    def read(self, number: int) -> NDArray[Any]:
        place = self.places[number]
        key = (place["sum"], place["dtype"], *place["shape"])
        if key not in self.used:
            self.used[key] = self.held[key] if key in self.held else self._stored(place)
        return self.used[key]

    def _stored(self, place: Mapping[str, Any]) -> NDArray[Any]:
        kind = np.dtype(place["dtype"])
        count = math.prod(place["shape"])
        self.file.seek(self.begin + place["at"])
        values = np.fromfile(self.file, kind, count) if count else np.empty(0, kind)
        return values.reshape(place["shape"])


def _packed(arrays: Sequence[NDArray[Any]]) -> tuple[list[dict[str, Any]], NDArray[np.uint8]]:
    """All arrays in one, and where in it each begins, in bytes."""
    places, parts, at = [], [], 0
    for array in arrays:
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        checksum = f"{zlib.crc32(raw.data):08x}{zlib.adler32(raw.data):08x}"
        places.append({"at": at, "dtype": array.dtype.str, "shape": array.shape, "sum": checksum})
        parts.append(raw)
        at += raw.size
    return places, np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _begin_of(stored: zipfile.ZipFile, file: IO[bytes]) -> int:
    """Where the packed arrays begin: behind the zip's local header (APPNOTE 4.3.7) and that of the .npy within."""
    info = stored.getinfo(f"{DATA}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError("compressed")
    file.seek(info.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    file.seek(info.header_offset + 30 + name + extra)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return file.tell()


def _encoded(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """JSON's types; arrays go into the list and leave their number. What is no plain value says what it is."""
    if isinstance(value, np.ndarray):
        arrays.append(_compact(value))
        return {"array": len(arrays) - 1}
    if type(value).__name__ in _DATACLASSES:
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in NOT_STORED}
        return {"is": type(value).__name__, "of": _table(fields, arrays)}
    if isinstance(value, Enum):
        return {"is": type(value).__name__, "of": value.value} if type(value).__name__ in _ENUMS else value.value
    if isinstance(value, Mapping):
        return {"is": "table", "of": _table(value, arrays)}
    if isinstance(value, (list, tuple)):
        items = [_encoded(v, arrays) for v in value]
        return {"is": "tuple", "of": items} if isinstance(value, tuple) else items
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def _table(value: Mapping[Any, Any], arrays: list[NDArray[Any]]) -> dict[str, Any]:
    return {str(k): _encoded(v, arrays) for k, v in value.items()}


def _decoded(value: Any, stored: _Arrays) -> Any:
    if isinstance(value, list):
        return [_decoded(v, stored) for v in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return stored.read(value["array"])
    name, content = value["is"], value["of"]
    if name == "tuple":
        return tuple(_decoded(v, stored) for v in content)
    if name in _ENUMS:
        return _ENUMS[name](content)
    table = {k: _decoded(v, stored) for k, v in content.items()}
    if name == "table":
        return table
    kind = _DATACLASSES[name]
    known = {f.name for f in dataclasses.fields(kind)}
    return kind(**{k: v for k, v in table.items() if k in known})


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype in (np.int64, np.uint64) and (not array.size or (array.min() >= -(2**31) and array.max() < 2**31)):
        return array.astype(np.int32)
    if array.dtype.hasobject:
        raise TypeError("a snapshot holds plain arrays alone")
    return array
