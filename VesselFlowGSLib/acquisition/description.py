"""study.toml: what the user says about the study; everything in it is optional."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from VesselFlowGSLib.errors import InputError

Point = tuple[float, float, float]

FILE_NAME = "study.toml"


@dataclass(frozen=True)
class GeometrySection:
    isocentre_lps_mm: Point | None = None
    region_lps_mm: tuple[Point, Point] | None = None
    inlet_lps_mm: Point | None = None
    outlets_lps_mm: tuple[Point, ...] = ()
    lumen_file: str | None = None


@dataclass(frozen=True)
class RunSection:
    """One XA file; mask_frames count from 1 as in DICOM; principal_point_px is meant in the file as it is stored."""

    file: str
    role: str | None = None
    mask_frames: tuple[int, ...] | None = None
    primary_angle_deg: float | None = None
    secondary_angle_deg: float | None = None
    source_to_detector_mm: float | None = None
    source_to_isocentre_mm: float | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    principal_point_px: tuple[float, float] | None = None
    flip_rows: bool = False
    flip_columns: bool = False
    frame_times_s: tuple[float, ...] | None = None
    time_offset_s: float | None = None


@dataclass(frozen=True)
class FluidSection:
    density_kg_m3: float | None = None
    model: str | None = None
    viscosity_pa_s: float | None = None
    hematocrit: float | None = None


@dataclass(frozen=True)
class FlowSection:
    waveform: str = "auto"
    period_s: float | None = None
    mean_inflow_ml_s: float | None = None
    inflow_csv: str | None = None


@dataclass(frozen=True)
class OutletSection:
    share: float | None = None
    pressure_pa: float | None = None
    resistance_pa_s_ml: float | None = None


@dataclass(frozen=True)
class PatientSection:
    heart_rate_bpm: float | None = None
    systolic_mmhg: float | None = None
    diastolic_mmhg: float | None = None


@dataclass(frozen=True)
class StudyDescription:
    geometry: GeometrySection = field(default_factory=GeometrySection)
    run: tuple[RunSection, ...] = ()
    fluid: FluidSection = field(default_factory=FluidSection)
    flow: FlowSection = field(default_factory=FlowSection)
    outlet: tuple[OutletSection, ...] = ()
    patient: PatientSection = field(default_factory=PatientSection)

    def of_run(self, name: str) -> RunSection:
        """What is said about the run of this file (name relative to the study, forward slashes)."""
        return next((section for section in self.run if section.file == name), RunSection(file=name))


Reader = Callable[[Any, str], Any]

SECTIONS: Mapping[str, type] = {
    "geometry": GeometrySection,
    "run": RunSection,
    "fluid": FluidSection,
    "flow": FlowSection,
    "outlet": OutletSection,
    "patient": PatientSection,
}
REPEATED = ("run", "outlet")
SHARE_SUM_TOLERANCE = 0.01


def read_description(folder: Path) -> StudyDescription:
    """The study.toml of a study folder; its absence means that nothing is said.

    Raises InputError for unknown keys, wrong types or ranges, and paths that leave the folder or lead nowhere.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        if path.is_symlink() or path.exists():
            raise InputError(f"{FILE_NAME} is not a file that can be read. Replace it by a plain file or remove it.")
        return StudyDescription()
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{FILE_NAME} is a link that leaves the study folder. Copy the file into the folder.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{FILE_NAME} is not valid TOML: {error}.") from None
    except OSError as error:
        raise InputError(f"{FILE_NAME} cannot be read: {error.strerror}. Make it readable.") from None
    return parse_description(table, folder)


def parse_description(table: Mapping[str, Any], folder: Path) -> StudyDescription:
    """A StudyDescription from the tables of a study.toml; paths are checked against the folder."""
    for key in table:
        if key not in SECTIONS:
            raise InputError(f"{FILE_NAME}: {_unknown(key, 'the top level', list(SECTIONS))}")
    readers = _readers(folder)
    said: dict[str, Any] = {}
    for name, content in table.items():
        if name in REPEATED:
            if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
                raise InputError(f"{FILE_NAME}: {name} is a list of tables. Write [[{name}]], with two brackets.")
            said[name] = tuple(
                _section(name, item, readers, f"[[{name}]] number {number}") for number, item in enumerate(content, 1)
            )
        elif not isinstance(content, dict):
            raise InputError(f"{FILE_NAME}: {name} is a table. Write [{name}] and its keys below.")
        else:
            said[name] = _section(name, content, readers, f"[{name}]")
    description = StudyDescription(**said)
    _check_together(description)
    return description


def checked(section: str, key: str, value: Any) -> Any:
    """The value of one key, read as in a study.toml ([[run]] is section "run"). InputError where it makes no sense.

    Keys that name a file are not checked here: they need the study's folder.
    """
    return _readers(Path())[f"{section}.{key}"](value, f"[{section}] {key}")


def path_inside(folder: Path, text: str, where: str) -> str:
    """A relative path with forward slashes that stays in the folder and names a file there."""
    pure = PurePosixPath(text.replace("\\", "/"))
    drive = len(text) > 1 and text[1] == ":"
    if not text.strip() or "\0" in text or pure.is_absolute() or drive or ".." in pure.parts:
        raise InputError(
            f"{FILE_NAME}: {where} = {text!r} leaves the study folder. Give a path inside it, without '..'."
        )
    target = folder / pure
    if not target.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{FILE_NAME}: {where} = {text!r} is a link that leaves the study folder. Copy the file into it."
        )
    if not target.is_file():
        raise InputError(f"{FILE_NAME}: {where} = {text!r} names a file that is not there. Correct the name.")
    return str(pure)


def _section(name: str, table: Mapping[str, Any], readers: Mapping[str, Reader], where: str) -> Any:
    section = SECTIONS[name]
    keys = [f.name for f in fields(section)]
    values = {}
    for key, value in table.items():
        if key not in keys:
            raise InputError(f"{FILE_NAME}: {_unknown(key, where, keys)}")
        values[key] = readers[f"{name}.{key}"](value, f"{where} {key}")
    if name == "run" and "file" not in values:
        raise InputError(f"{FILE_NAME}: {where} has no 'file'. Add file = \"…\" to say which run it is about.")
    return section(**values)


def _unknown(key: str, where: str, known: list[str]) -> str:
    for name, section in SECTIONS.items():
        if key in [f.name for f in fields(section)]:
            brackets = f"[[{name}]]" if name in REPEATED else f"[{name}]"
            return f"the key '{key}' is not known in {where}. It belongs to {brackets}."
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return f"the key '{key}' is not known in {where}. The nearest key is '{nearest}'."


def _refuse(value: Any, where: str, wanted: str) -> InputError:
    return InputError(f"{FILE_NAME}: {where} = {value!r}: give {wanted}.")


def _number(low: float = -math.inf, high: float = math.inf, wanted: str = "a number", open_low: bool = False) -> Reader:
    def read(value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _refuse(value, where, wanted)
        try:
            number = float(value)
        except OverflowError:
            raise _refuse("a very large integer", where, wanted) from None
        if not math.isfinite(number) or not low <= number <= high or (open_low and number == low):
            raise _refuse(value, where, wanted)
        return number

    return read


def _several(item: Reader, count: int | None, wanted: str) -> Reader:
    def read(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or (count is not None and len(value) != count) or not value:
            raise _refuse(value, where, wanted)
        return tuple(item(entry, where) for entry in value)

    return read


def _choice(*names: str) -> Reader:
    def read(value: Any, where: str) -> str:
        if value in names and isinstance(value, str):
            return value
        nearest = difflib.get_close_matches(str(value), names, n=1, cutoff=0.0)[0]
        listed = ", ".join(repr(n) for n in names)
        raise _refuse(value, where, f"one of {listed} (the nearest is {nearest!r})")

    return read


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _refuse(value, where, "true or false")
    return value


def _region(value: Any, where: str) -> tuple[Point, Point]:
    wanted = "two opposite corners, [[x0, y0, z0], [x1, y1, z1]], apart along every axis"
    a, b = _several(_POINT, 2, wanted)(value, where)
    low, high = tuple(map(min, a, b)), tuple(map(max, a, b))
    if any(first == second for first, second in zip(low, high, strict=True)):
        raise _refuse(value, where, wanted)
    return low, high


def _mask_frames(value: Any, where: str) -> tuple[int, ...]:
    wanted = "different frame numbers, counted from 1, as in [1, 2, 3]"
    whole = isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in value)
    if not whole or not value or len(set(value)) != len(value):
        raise _refuse(value, where, wanted)
    return tuple(sorted(value))


def _frame_times(value: Any, where: str) -> tuple[float, ...]:
    wanted = "rising times in seconds, none negative, one for each frame"
    times: tuple[float, ...] = _several(_number(0.0, 1e6, wanted), None, wanted)(value, where)
    if any(later <= earlier for earlier, later in zip(times, times[1:], strict=False)):
        raise _refuse(value if len(value) < 8 else "[…]", where, wanted)
    return times


_POINT = _several(_number(-1e5, 1e5, "three numbers in millimetres"), 3, "a point, [x, y, z] in LPS millimetres")


def _readers(folder: Path) -> Mapping[str, Reader]:
    def inside(value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise _refuse(value, where, "a file name in quotes")
        return path_inside(folder, value, where)

    angle = _number(-360.0, 360.0, "an angle between -360 and 360 degrees")
    distance = _number(0.0, 10_000.0, "a positive distance in millimetres", open_low=True)
    spacing = _number(0.0, 10.0, "a positive spacing in millimetres", open_low=True)
    pressure = _number(-1e6, 1e6, "a pressure in pascal")
    return {
        "geometry.isocentre_lps_mm": _POINT,
        "geometry.region_lps_mm": _region,
        "geometry.inlet_lps_mm": _POINT,
        "geometry.outlets_lps_mm": _several(_POINT, None, "a list of points, [[x, y, z], …]"),
        "geometry.lumen_file": inside,
        "run.file": inside,
        "run.role": _choice("dsa", "mask", "fill", "ignore"),
        "run.mask_frames": _mask_frames,
        "run.primary_angle_deg": angle,
        "run.secondary_angle_deg": angle,
        "run.source_to_detector_mm": distance,
        "run.source_to_isocentre_mm": distance,
        "run.pixel_spacing_mm": _several(spacing, 2, "two positive spacings in millimetres, [row, column]"),
        "run.principal_point_px": _several(_number(-1e5, 1e5, "a pixel position"), 2, "a position, [row, column]"),
        "run.flip_rows": _flag,
        "run.flip_columns": _flag,
        "run.frame_times_s": _frame_times,
        "run.time_offset_s": _number(0.0, 1e6, "seconds, not negative (shift the other runs instead)"),
        "fluid.density_kg_m3": _number(500.0, 2000.0, "a density between 500 and 2000 kg/m3 (blood: 1060)"),
        "fluid.model": _choice("newtonian", "carreau-yasuda", "casson"),
        "fluid.viscosity_pa_s": _number(1e-4, 0.1, "a viscosity between 0.0001 and 0.1 Pa s (blood: 0.0035)"),
        "fluid.hematocrit": _number(0.0, 0.8, "a fraction between 0 and 0.8 (0.45 is usual)"),
        "flow.waveform": _choice("auto", "steady", "pulsatile"),
        "flow.period_s": _number(0.1, 10.0, "a heart period between 0.1 and 10 s"),
        "flow.mean_inflow_ml_s": _number(0.0, 1000.0, "a positive flow in ml/s, at most 1000", open_low=True),
        "flow.inflow_csv": inside,
        "outlet.share": _number(0.0, 1.0, "a share between 0 and 1"),
        "outlet.pressure_pa": pressure,
        "outlet.resistance_pa_s_ml": _number(0.0, 1e12, "a resistance in Pa s/ml, not negative"),
        "patient.heart_rate_bpm": _number(20.0, 300.0, "beats per minute between 20 and 300"),
        "patient.systolic_mmhg": _number(20.0, 350.0, "a pressure between 20 and 350 mmHg"),
        "patient.diastolic_mmhg": _number(5.0, 250.0, "a pressure between 5 and 250 mmHg"),
    }


def _check_together(description: StudyDescription) -> None:
    names = [run.file for run in description.run]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{FILE_NAME}: two [[run]] tables are about {name!r}. Join them into one.")
    for run in description.run:
        near, far = run.source_to_isocentre_mm, run.source_to_detector_mm
        if near is not None and far is not None and near >= far:
            raise InputError(
                f"{FILE_NAME}: [[run]] {run.file}: source_to_isocentre_mm = {near:g} must be less than "
                f"source_to_detector_mm = {far:g}."
            )
    if description.flow.mean_inflow_ml_s is not None and description.flow.inflow_csv is not None:
        raise InputError(f"{FILE_NAME}: [flow] has both mean_inflow_ml_s and inflow_csv. Keep one of them.")
    low, high = description.patient.diastolic_mmhg, description.patient.systolic_mmhg
    if low is not None and high is not None and low >= high:
        raise InputError(f"{FILE_NAME}: [patient] diastolic_mmhg = {low:g} must be less than systolic_mmhg = {high:g}.")
    _check_outlets(description)


def _check_outlets(description: StudyDescription) -> None:
    outlets, points = description.outlet, description.geometry.outlets_lps_mm
    if len(outlets) > 1 and len(outlets) != len(points):
        raise InputError(
            f"{FILE_NAME}: {len(outlets)} [[outlet]] tables but {len(points)} points in [geometry] outlets_lps_mm. "
            "Give one [[outlet]] for each point, in the same order."
        )
    for number, outlet in enumerate(outlets, 1):
        given = [f.name for f in fields(outlet) if getattr(outlet, f.name) is not None]
        if len(given) > 1:
            raise InputError(f"{FILE_NAME}: [[outlet]] number {number} has {' and '.join(given)}. Keep one of them.")
    shares = [outlet.share for outlet in outlets if outlet.share is not None]
    total, complete = sum(shares), len(shares) == max(len(outlets), len(points))
    if shares and (total > 1 + SHARE_SUM_TOLERANCE or (complete and total < 1 - SHARE_SUM_TOLERANCE)):
        raise InputError(f"{FILE_NAME}: the [[outlet]] shares sum to {total:g}. They must sum to 1.")
