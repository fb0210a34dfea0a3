"""Checkpoints: what a reconstruction needs to go on, as plain named arrays (no pickle)."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree, Opening
from VesselFlowGSLib.lumen.wall import Lumen, WallDistance

VERSION = 1
FILE = "checkpoint.npz"
Arrays = dict[str, NDArray[Any]]
# what numpy, zipfile, zlib and json say of a damaged file
UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Checkpoint:
    """State after a stage.

    fingerprint  of the study and the settings that the state belongs to
    lumen, cloud  the geometry
    words        of the geometry, for the summary; warnings; isocentre_lps_mm where the C-arm stood
    inflow_ml_s, shares, parameters   of the flow, None before it has begun
    iterations   steps of the flow solve behind the parameters
    """

    fingerprint: str
    lumen: Lumen
    cloud: GaussianCloud
    words: Mapping[str, Any]
    warnings: tuple[str, ...]
    inflow_ml_s: float | None = None
    shares: NDArray[np.float64] | None = None
    parameters: NDArray[np.float64] | None = None
    iterations: int = 0

    def arrays(self) -> Arrays:
        """As named arrays, for an .npz file."""
        lumen, cloud = self.lumen, self.cloud
        header = {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "words": dict(self.words),
            "warnings": list(self.warnings),
            "inflow_ml_s": self.inflow_ml_s,
            "iterations": self.iterations,
            "parents": [b.parent for b in lumen.tree.branches],
            "openings": [{"name": o.name, "branch": o.branch, "radius_mm": o.radius_mm} for o in lumen.openings],
            "spacing_mm": lumen.wall.spacing_mm,
        }
        found: Arrays = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "wall": lumen.wall.values,
            "wall_origin": lumen.wall.origin,
            "opening_centres": np.array([o.centre for o in lumen.openings]),
            "opening_normals": np.array([o.normal for o in lumen.openings]),
        }
        for index, branch in enumerate(lumen.tree.branches):
            found[f"branch_{index}"] = np.column_stack([branch.points, branch.radius_mm])
        if lumen.trust is not None:
            found["trust"] = np.column_stack(lumen.trust)
        for name in GaussianCloud.__dataclass_fields__:
            found[f"cloud_{name}"] = getattr(cloud, name)
        if self.shares is not None:
            found["shares"] = self.shares
        if self.parameters is not None:
            found["parameters"] = self.parameters
        return found


def load_checkpoint(out: Path) -> Checkpoint | None:
    """The checkpoint that OUT holds, or None where there is none that can be used."""
    for folder in (out / ".unfinished", out):
        file = folder / FILE
        if file.is_file():
            try:
                with np.load(file, allow_pickle=False) as stored:
                    found = _read(dict(stored))
            except UNREADABLE:
                continue
            if found is not None:
                return found
    return None


def _read(stored: Arrays) -> Checkpoint | None:
    header = json.loads(bytes(stored["header"]).decode())
    if header["version"] != VERSION:
        return None
    branches = []
    for index, parent in enumerate(header["parents"]):
        table = stored[f"branch_{index}"]
        branches.append(Branch(table[:, :3], table[:, 3], parent))
    openings = tuple(
        Opening(o["name"], centre, normal, o["radius_mm"], o["branch"])
        for o, centre, normal in zip(
            header["openings"], stored["opening_centres"], stored["opening_normals"], strict=True
        )
    )
    trust = (stored["trust"][:, :3], stored["trust"][:, 3]) if "trust" in stored else None
    lumen = Lumen(
        WallDistance(stored["wall"], stored["wall_origin"], header["spacing_mm"]),
        CentrelineTree(tuple(branches)),
        openings,
        trust,
    )
    cloud = GaussianCloud(*(stored[f"cloud_{name}"] for name in GaussianCloud.__dataclass_fields__))
    return Checkpoint(
        header["fingerprint"],
        lumen,
        cloud,
        header["words"],
        tuple(header["warnings"]),
        header["inflow_ml_s"],
        stored.get("shares"),
        stored.get("parameters"),
        header.get("iterations", 0),
    )
