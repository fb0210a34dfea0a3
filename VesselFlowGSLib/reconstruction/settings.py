"""All settings of a reconstruction: each package's own, composed; read from TOML; printed with every result."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.flow.solve import FlowSettings
from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS
from VesselFlowGSLib.lumen.fit import FitSettings
from VesselFlowGSLib.lumen.follow import FollowSettings
from VesselFlowGSLib.lumen.hull import HullSettings
from VesselFlowGSLib.lumen.pose import PoseSettings
from VesselFlowGSLib.lumen.segment import SegmentSettings
from VesselFlowGSLib.lumen.tracing import ExtractionSettings
from VesselFlowGSLib.reconstruction.inflow import InflowSettings
from VesselFlowGSLib.results.derived import DerivedSettings

T = TypeVar("T")
QUALITIES = ("preview", "standard", "fine")
DEVICES = ("auto", "cpu", "cuda")
BACKEND_NAMES = ("auto", *(b.name for b in BACKENDS))


@dataclass(frozen=True)
class GeometrySettings:
    """refine: whether the Gaussians follow the frames after the volume; rotational_views: used of a rotational run;
    gain_radii: length of vessel that shares one filling in a DSA image; least_pixels: opaque pixels that such a piece
    needs; uneven_filling: error of a DSA image's opacity, as part of its peak, since the bolus is not even."""

    refine: bool = True
    rotational_views: int = 12
    gain_radii: float = 5.0
    least_pixels: int = 50
    uneven_filling: float = 0.15


@dataclass(frozen=True)
class ScheduleSettings:
    """rounds: how often the inflow is read again with the solved velocity field (0: with the 1D network's profile
    only); enough_change: a relative change of the inflow below which no further round is worth it; streamlines:
    number of them."""

    rounds: int = 2
    enough_change: float = 0.02
    streamlines: int = 60


@dataclass(frozen=True)
class ReconstructionSettings:
    """Everything that a reconstruction can be set by; quality, device and seed as on the command line.

    backend: of the operators on Gaussians, auto: the fastest that is installed; threads: of those on the processor,
    0: all cores. Neither changes the result but for rounding.
    """

    quality: str = "standard"
    device: str = "auto"
    seed: int = 0
    backend: str = "auto"
    threads: int = 0
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)
    hull: HullSettings = field(default_factory=HullSettings)
    pose: PoseSettings = field(default_factory=PoseSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    follow: FollowSettings = field(default_factory=FollowSettings)
    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    inflow: InflowSettings = field(default_factory=InflowSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    derived: DerivedSettings = field(default_factory=DerivedSettings)


_QUALITY: dict[str, Mapping[str, Any]] = {
    "preview": {
        "flow": {"points_per_radius": 40, "first_iterations": 150, "update_iterations": 50},
        "schedule": {"rounds": 0},
    },
    "standard": {},
    "fine": {
        "flow": {
            "points_per_radius": 140,
            "first_iterations": 2500,
            "update_iterations": 400,
            "network": {"width": 40},
        },
        "schedule": {"rounds": 3},
    },
}


def load_settings(
    file: Path | None = None, preset: str | None = None, quality: str = "standard", device: str = "auto", seed: int = 0
) -> ReconstructionSettings:
    """Defaults, changed by quality, then by the preset, then by the TOML file.

    A quality that the file names counts. Raises InputError: an unknown preset, quality, device, backend or key (the
    nearest is named), a value of the wrong type.
    """
    content = {} if file is None else _table(Path(file))
    quality = content.get("quality", quality)
    if quality not in QUALITIES:
        raise InputError(f"quality {quality!r} is unknown; choose one of {', '.join(QUALITIES)}.")
    chosen = ReconstructionSettings(quality=quality, device=device, seed=seed)
    chosen = overlaid(chosen, _QUALITY[quality], "quality")
    if preset is not None:
        chosen = overlaid(chosen, _preset(preset), f"preset {preset}")
    chosen = overlaid(chosen, content, str(file))
    if chosen.device not in DEVICES:
        raise InputError(f"device {chosen.device!r} is unknown; choose one of {', '.join(DEVICES)}.")
    if chosen.backend not in BACKEND_NAMES:
        raise InputError(f"backend {chosen.backend!r} is unknown; choose one of {', '.join(BACKEND_NAMES)}.")
    if chosen.threads < 0:
        raise InputError(f"threads must be 0 (all cores) or more, not {chosen.threads}.")
    return chosen


def _table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not valid TOML: {error}.") from None


def preset_names() -> tuple[str, ...]:
    """Names of the presets that come with the engine."""
    folder = resources.files("VesselFlowGSLib.presets")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def _preset(name: str) -> Mapping[str, Any]:
    if name not in preset_names():
        raise InputError(f"There is no preset {name!r}; choose one of {', '.join(preset_names())}.")
    text = resources.files("VesselFlowGSLib.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def overlaid(base: T, changes: Mapping[str, Any], where: str, path: str = "") -> T:
    """The dataclass with the given keys changed, nested dataclasses by nested tables."""
    kinds = typing.get_type_hints(type(base))
    known = [f.name for f in dataclasses.fields(base)]  # type: ignore[arg-type]
    new: dict[str, Any] = {}
    for key, value in changes.items():
        full = f"{path}{key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {path}{near[0]}" if near else f"; known are {', '.join(known)}"
            raise InputError(f"{where}: unknown setting {full}{hint}.")
        old = getattr(base, key)
        if dataclasses.is_dataclass(old):
            if not isinstance(value, Mapping):
                raise InputError(f"{where}: {full} must be a table.")
            new[key] = overlaid(old, value, where, f"{full}.")
        else:
            new[key] = _converted(value, kinds[key], where, full)
    return dataclasses.replace(base, **new)  # type: ignore[type-var]


def _converted(value: Any, kind: Any, where: str, name: str) -> Any:
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list):
            inner = typing.get_args(option)
            kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
            if len(kinds) == len(value):
                return tuple(_converted(v, k, where, name) for v, k in zip(value, kinds, strict=True))
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    wanted = " or ".join(getattr(o, "__name__", str(o)) for o in options)
    raise InputError(f"{where}: {name} must be {wanted}, not {value!r}.")
