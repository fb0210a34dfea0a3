"""Pictures of a result: one view of it, and the page that a person looks at first."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from VesselFlowGSLib.errors import InputError, InstallationError
from VesselFlowGSLib.results.colours import colour_table, colours
from VesselFlowGSLib.results.rendering import Body, Colour, DrawingSettings, View, draw, fitted, tubes, view_of
from VesselFlowGSLib.results.snapshot import CloudArrays, Figure, Polylines, Snapshot, Surface
from VesselFlowGSLib.results.visible_cloud import VisibleCloud, draw_cloud

Array = NDArray[np.float64]
Scene = list[Body] | VisibleCloud

KINDS = ("surface", "streamlines", "gaussians")
COLOURS = ("speed", "pressure", "wss")
NAMES = {"speed": "speed", "pressure": "pressure", "wss": "wall shear stress", "radius": "radius"}
UNITS = {"speed": "m/s", "pressure": "Pa", "wss": "Pa", "radius": "mm"}

INK, FAINT, RULE = "#1d2733", "#66717e", "#d5dbe2"

FIGURE_NAMES = {
    "mean_inflow": "mean inflow",
    "pressure_drop": "pressure drop",
    "resting_pressure_ratio": "resting pressure ratio (research)",
    "max_speed": "highest speed",
    "mean_wss": "mean wall shear stress",
    "max_wss": "highest wall shear stress",
    "reynolds": "Reynolds number at the inlet",
    "lumen_volume": "volume of the lumen",
    "min_radius": "smallest radius",
    "length": "length of the longest path",
}


@dataclass(frozen=True)
class PictureSettings:
    """Sizes in pixels; dark: light text on a dark ground; most_gaussians: the strongest of them are drawn.
    report_lines: streamlines in the report's first view."""

    width: int = 1800
    height: int = 1200
    dark: bool = False
    most_gaussians: int = 500_000
    report_lines: int = 45
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    drawing: DrawingSettings = DrawingSettings()

    @property
    def ground(self) -> Colour:
        return (0.055, 0.07, 0.095) if self.dark else (1.0, 1.0, 1.0)

    @property
    def glass(self) -> Colour:
        return (0.55, 0.62, 0.70) if self.dark else (0.45, 0.52, 0.60)


@dataclass(frozen=True)
class Scale:
    """What colours mean in a view."""

    quantity: str
    low: float
    high: float

    def of(self, values: NDArray[Any]) -> Array:
        return colours(self.quantity, values, self.low, self.high)


def render_result(
    snapshot: Snapshot, picture: str | os.PathLike[str], kind: str | None = None, colour: str | None = None,
    settings: PictureSettings = PictureSettings(),
) -> None:  # fmt: skip
    """Write one view of a result as PNG: kind of KINDS, colour of COLOURS; by default what the result allows.

    Raises InputError where the result does not hold what is asked for, InstallationError where nothing can be drawn.
    """
    kind = kind or ("streamlines" if snapshot.streamlines is not None else "surface")
    scene, scale = _scene(snapshot, kind, colour, settings)
    figure = _figure(settings)
    area = (0.0, 0.13, 1.0, 0.87)
    _show(figure, area, scene, settings)
    if scale is not None:
        _scale_bar(figure, (0.32, 0.075, 0.36, 0.02), scale, settings)
    _save(figure, Path(picture))


def report_picture(snapshot: Snapshot, path: str | os.PathLike[str], settings: PictureSettings | None = None) -> None:
    """Write the composed picture of a result as PNG: views, course along the vessel, key figures.

    Raises InputError for a snapshot without a lumen, InstallationError where nothing can be drawn.
    """
    settings = settings or PictureSettings(width=2000, height=1360)
    surface = _needed(snapshot.surface, "lumen", "surface.vtp")
    solved = snapshot.streamlines is not None and "wss" in surface.arrays
    figure = _figure(settings)
    figure.text(0.03, 0.962, "Vessel and blood flow", fontsize=21, fontweight="bold", color=INK, va="center")
    figure.text(
        0.97, 0.962, "VesselFlowGS · for research use only", fontsize=10.5, color=FAINT, va="center", ha="right"
    )
    figure.text(0.03, 0.930, _subtitle(snapshot), fontsize=11.5, color=FAINT, va="center")
    _rule(figure, 0.912)
    main, side = (0.02, 0.43, 0.60, 0.47), (0.64, 0.43, 0.34, 0.47)
    if solved:
        wall, pressure = _surface_bodies(snapshot, "pressure", settings)
        # The far wall carries the colour, behind the streamlines; the near one only a rim, so that they stay readable.
        glass = [dataclasses.replace(wall[0], glass=g, side=side) for g, side in ((0.62, "far"), (0.03, "near"))]
        lines, speed = _streamline_bodies(snapshot, "speed", settings, with_wall=False, most=settings.report_lines)
        view = _show(figure, main, [*glass, *lines], settings)
        _caption(figure, main, "Pressure on the wall, speed along the streamlines")
        _scale_bar(figure, (0.07, 0.405, 0.21, 0.012), _known(pressure), settings)
        _scale_bar(figure, (0.36, 0.405, 0.21, 0.012), _known(speed), settings)
        bodies, stress = _surface_bodies(snapshot, "wss", settings)
        _show(figure, side, bodies, settings, like=view)
        _caption(figure, side, "Wall shear stress")
        _scale_bar(figure, (0.705, 0.405, 0.21, 0.012), _known(stress), settings)
    else:
        bodies, radius = _surface_bodies(snapshot, None, settings)
        view = _show(figure, main, bodies, settings)
        _caption(figure, main, "Lumen")
        if radius is not None:
            _scale_bar(figure, (0.215, 0.405, 0.21, 0.012), radius, settings)
        if snapshot.cloud is not None and len(snapshot.cloud.mean):
            cloud, _ = _visible_cloud(snapshot, None, settings)
            _show(figure, side, cloud, settings, like=view)
            _caption(figure, side, "X-ray Gaussians")
    _rule(figure, 0.345)
    if snapshot.centreline is not None:
        _course(figure, snapshot.centreline)
    _figures_table(figure, snapshot)
    _save(figure, Path(path))


def _scene(snapshot: Snapshot, kind: str, colour: str | None, settings: PictureSettings) -> tuple[Scene, Scale | None]:
    if kind not in KINDS:
        raise InputError(f"--as {kind}: give one of {', '.join(KINDS)}.")
    if colour is not None and colour not in COLOURS:
        raise InputError(f"--colour {colour}: give one of {', '.join(COLOURS)}.")
    if kind == "surface":
        return _surface_bodies(snapshot, colour, settings)
    if kind == "streamlines":
        return _streamline_bodies(snapshot, colour or "speed", settings, with_wall=True)
    return _visible_cloud(snapshot, colour, settings)


def _surface_bodies(
    snapshot: Snapshot, colour: str | None, settings: PictureSettings
) -> tuple[list[Body], Scale | None]:
    surface = _needed(snapshot.surface, "lumen", "surface.vtp")
    if colour == "speed":
        raise InputError("The speed is zero on the wall. Give --as streamlines, or --colour pressure or wss.")
    if colour is None:
        colour = "pressure" if "pressure" in surface.arrays else None
    if colour is None:
        return _plain_wall(snapshot, surface)
    values = surface.arrays.get(colour)
    if values is None:
        raise InputError(f"The result has no {NAMES[colour]}: {_why(snapshot)}")
    scale = _scale(colour, values, settings)
    return [Body(surface, scale.of(values))], scale


def _plain_wall(snapshot: Snapshot, surface: Surface) -> tuple[list[Body], Scale | None]:
    """The wall coloured by the radius of the vessel where its centreline is known."""
    line = snapshot.centreline
    if line is None or "radius_mm" not in line.arrays:
        return [Body(surface, np.tile([0.78, 0.30, 0.27], (len(surface.points), 1)))], None
    nearest = cKDTree(line.points).query(surface.points)[1]
    radius = np.asarray(line.arrays["radius_mm"], float)
    scale = Scale("radius", 0.0, float(radius.max()))
    return [Body(surface, scale.of(radius[nearest]))], scale


def _streamline_bodies(
    snapshot: Snapshot, colour: str, settings: PictureSettings, with_wall: bool, most: int = 1000
) -> tuple[list[Body], Scale]:
    lines = snapshot.streamlines
    if lines is None or len(lines.points) == 0:
        raise InputError(f"The result has no streamlines: {_why(snapshot)}")
    if colour == "wss":
        raise InputError("The wall shear stress is known on the wall alone. Give --as surface.")
    lines = _every(lines, most)
    values = np.asarray(lines.arrays["speed"], float) if colour == "speed" else _pressure_at(snapshot, lines.points)
    scale = _scale(colour, values, settings)
    points = np.asarray(lines.points, float)
    size = float(np.linalg.norm(np.ptp(points, axis=0)))
    width = _typical_radius(snapshot, size) * 0.03
    surface, of = tubes(points, lines.offsets, width)
    bodies = [Body(surface, scale.of(values)[of])]
    if with_wall and snapshot.surface is not None:
        tint = np.tile(settings.glass, (len(snapshot.surface.points), 1))
        bodies.append(Body(snapshot.surface, tint, glass=0.07))
    return bodies, scale


def _every(lines: Polylines, most: int) -> Polylines:
    """At most so many of the curves, evenly chosen."""
    count = len(lines.offsets) - 1
    if count <= most:
        return lines
    chosen = np.linspace(0, count - 1, most).round().astype(int)
    points = np.concatenate([np.arange(lines.offsets[i], lines.offsets[i + 1]) for i in chosen])
    offsets = np.concatenate([[0], np.cumsum(np.diff(lines.offsets)[chosen])])
    return Polylines(lines.points[points], offsets, {name: values[points] for name, values in lines.arrays.items()})


def _visible_cloud(
    snapshot: Snapshot, colour: str | None, settings: PictureSettings
) -> tuple[VisibleCloud, Scale | None]:
    cloud = _needed(snapshot.cloud, "Gaussians", "gaussians.ply")
    strength = np.asarray(cloud.attenuation * cloud.occupancy, float)
    shown = np.flatnonzero(strength > 0.1 * strength.max()) if len(strength) else np.zeros(0, np.int64)
    shown = shown[np.argsort(-strength[shown], kind="stable")][: settings.most_gaussians]
    if not len(shown):
        raise InputError("The result has no visible Gaussians.")
    if colour is None:
        colour = next((x for x in ("speed", "pressure") if _of_gaussians(snapshot, cloud, x) is not None), None)
    tone, scale = np.tile([0.93, 0.46, 0.38], (len(shown), 1)), None
    if colour is not None:
        values = _of_gaussians(snapshot, cloud, colour)
        if values is None:
            raise InputError(f"The Gaussians have no {NAMES[colour]}: {_why(snapshot)}")
        scale = _scale(colour, values[shown], settings)
        tone = scale.of(values[shown])
    few = CloudArrays(
        cloud.mean[shown], cloud.sigma[shown], cloud.quaternion[shown], cloud.attenuation[shown],
        cloud.occupancy[shown], cloud.arrival_s[shown],
    )  # fmt: skip
    return VisibleCloud(few, tone, strength[shown], snapshot.surface, settings.glass), scale


def _of_gaussians(snapshot: Snapshot, cloud: CloudArrays, quantity: str) -> Array | None:
    """(N,) of each Gaussian; of the wall shear stress that of the nearest wall."""
    if quantity == "speed":
        return None if cloud.velocity is None else np.asarray(np.linalg.norm(cloud.velocity, axis=1), float)
    if quantity == "pressure":
        return None if cloud.pressure is None else np.asarray(cloud.pressure, float)
    if snapshot.surface is None or quantity not in snapshot.surface.arrays:
        return None
    nearest = cKDTree(snapshot.surface.points).query(cloud.mean)[1]
    return np.asarray(snapshot.surface.arrays[quantity][nearest], float)


def _scale(quantity: str, values: NDArray[Any], settings: PictureSettings) -> Scale:
    """Round limits that hold nearly all values; speed and stress begin at zero."""
    finite = np.asarray(values, float)[np.isfinite(values)]
    if not len(finite):
        return Scale(quantity, 0.0, 1.0)
    low, high = np.percentile(finite, [settings.low_percentile, settings.high_percentile])
    low = 0.0 if quantity in ("speed", "wss") else float(low)
    return Scale(quantity, low, float(high) if high > low else low + 1.0)


def _pressure_at(snapshot: Snapshot, points: NDArray[Any]) -> Array:
    mesh = snapshot.field
    if mesh is None or "pressure" not in mesh.arrays:
        raise InputError(f"The result has no pressure: {_why(snapshot)}")
    nearest = cKDTree(mesh.points).query(points)[1]
    values: Array = np.asarray(mesh.arrays["pressure"], np.float64)[nearest]
    return values


def _typical_radius(snapshot: Snapshot, size: float) -> float:
    line = snapshot.centreline
    return float(np.median(line.arrays["radius_mm"])) if line is not None and "radius_mm" in line.arrays else size / 20


def _why(snapshot: Snapshot) -> str:
    return snapshot.flow_status.get("why") or "its flow is not solved. Choose --as surface without --colour."


def _known(scale: Scale | None) -> Scale:
    assert scale is not None
    return scale


def _needed(part: Any, what: str, file: str) -> Any:
    if part is None:
        raise InputError(f"The result has no {what} ({file} is missing). Run the reconstruction again.")
    return part


def _subtitle(snapshot: Snapshot) -> str:
    status = snapshot.flow_status.get("status", "pending")
    if status == "solved":
        return "Lumen reconstructed from X-ray images; steady or cycle-mean flow; patient axes L, P, S."
    return f"Lumen reconstructed from X-ray images; flow {status}" + (
        f": {snapshot.flow_status['why']}" if "why" in snapshot.flow_status else "."
    )


def _figure(settings: PictureSettings) -> Any:
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise InstallationError("matplotlib is missing: pip install matplotlib.") from error
    with rc_context({"font.family": "DejaVu Sans"}):
        figure = Canvas(figsize=(settings.width / 100, settings.height / 100), dpi=100, facecolor=settings.ground)
    FigureCanvasAgg(figure)
    return figure


def _show(
    figure: Any,
    area: tuple[float, float, float, float],
    scene: Scene,
    settings: PictureSettings,
    like: View | None = None,
) -> View:
    """Draw the scene into the area (left, bottom, width, height; parts of the figure), with a ruler and the axes.

    like: another view, whose directions this one takes.
    """
    width, height = round(area[2] * settings.width), round(area[3] * settings.height)
    points = (
        scene.points
        if isinstance(scene, VisibleCloud)
        else np.concatenate([np.asarray(b.surface.points, float) for b in scene])
    )
    # The ruler and the axes stand below the vessel.
    foot = round(0.11 * height)
    aspect, margin = width / (height - foot), settings.drawing.margin
    view = fitted(points, like.right, like.up, aspect, margin) if like else view_of(points, aspect, margin)
    size, looks = (width, height - foot), (settings.ground, settings.drawing)
    pixels = (
        draw_cloud(scene, view, *size, *looks) if isinstance(scene, VisibleCloud) else draw(scene, view, *size, *looks)
    )
    axes = figure.add_axes(area)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.imshow(pixels, extent=(0, width, foot, height), interpolation="none", aspect="auto")
    ink = "#e8edf2" if settings.dark else INK
    _ruler(axes, view, height - foot, ink)
    _triad(axes, view, width, ink)
    return view


def _ruler(axes: Any, view: View, height: int, ink: str) -> None:
    per_mm = height / view.height_mm
    length = max((m * 10.0**e for e in range(-2, 4) for m in (1, 2, 5) if m * 10.0**e * per_mm < 190), default=1.0)
    x, y = 26, 22
    axes.plot([x, x + length * per_mm], [y, y], color=ink, lw=2, solid_capstyle="butt")
    axes.text(x + length * per_mm / 2, y + 7, f"{length:g} mm", color=ink, fontsize=9.5, ha="center", va="bottom")


def _triad(axes: Any, view: View, width: int, ink: str) -> None:
    """The patient's axes as the view sees them: left, posterior, superior."""
    origin, length = np.array([width - 60.0, 46.0]), 26.0
    for name, direction in zip("LPS", np.eye(3), strict=True):
        tip = np.array([direction @ view.right, direction @ view.up])
        if np.linalg.norm(tip) < 0.25:
            continue
        end, label = (
            origin + length * tip,
            origin + (length + 11) * tip / np.linalg.norm(tip) * max(np.linalg.norm(tip), 0.7),
        )
        axes.annotate(
            "", end, origin, arrowprops={"arrowstyle": "-|>", "color": ink, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
        )
        axes.text(*label, name, color=ink, fontsize=9.5, ha="center", va="center")


def _caption(figure: Any, area: tuple[float, float, float, float], text: str) -> None:
    figure.text(
        area[0] + 0.01, area[1] + area[3] - 0.012, text, fontsize=12.5, color=INK, va="center", fontweight="bold"
    )


def _rule(figure: Any, y: float) -> None:
    from matplotlib.lines import Line2D

    figure.add_artist(Line2D([0.03, 0.97], [y, y], color=RULE, lw=1))


def _scale_bar(figure: Any, area: tuple[float, float, float, float], scale: Scale, settings: PictureSettings) -> None:
    from matplotlib.ticker import MaxNLocator

    ink = "#e8edf2" if settings.dark else INK
    axes = figure.add_axes(area)
    axes.imshow(
        colour_table(scale.quantity)[None],
        extent=(scale.low, scale.high, 0, 1),
        aspect="auto",
        interpolation="bilinear",
    )
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlim(scale.low, scale.high)
    axes.tick_params(axis="x", colors=ink, labelsize=10, length=3, width=0.8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(f"{NAMES[scale.quantity]}, {UNITS[scale.quantity]}", fontsize=11, color=ink, pad=5)


def _course(figure: Any, line: Polylines) -> None:
    """Pressure and cross-section along the longest way from the inlet."""
    at, points = _longest_path(line)
    area = np.pi * np.asarray(line.arrays["radius_mm"], float)[points] ** 2
    axes = figure.add_axes((0.065, 0.065, 0.50, 0.235))
    axes.fill_between(at, 0, area, color="#c9d6e3", lw=0)
    axes.plot(at, area, color="#5f7c99", lw=1.6)
    axes.set_ylim(0, 1.25 * float(area.max()))
    axes.set_xlim(float(at.min()), float(at.max()))
    axes.set_xlabel("distance from the inlet along the centreline, mm", fontsize=10.5, color=INK)
    axes.set_ylabel("cross-section, mm²", fontsize=10.5, color="#4a6781")
    _tidy(axes)
    title = "Cross-section along the vessel"
    if "pressure_pa" in line.arrays:
        other = axes.twinx()
        other.plot(at, np.asarray(line.arrays["pressure_pa"], float)[points], color="#b3266b", lw=2.2)
        other.set_ylabel("pressure, Pa", fontsize=10.5, color="#b3266b")
        _tidy(other)
        title = "Pressure and cross-section along the vessel"
    axes.set_title(title, fontsize=12.5, color=INK, loc="left", fontweight="bold", pad=9)


def _longest_path(line: Polylines) -> tuple[Array, NDArray[np.int64]]:
    """Distance from the inlet (n,) mm and points (n,) of the way to the farthest end; branches joined end to start."""
    curves = [np.arange(a, b) for a, b in zip(line.offsets[:-1], line.offsets[1:], strict=True) if b - a > 1]
    x = np.asarray(line.points, float)
    length = [float(np.linalg.norm(np.diff(x[c], axis=0), axis=1).sum()) for c in curves]
    parent, reach = [-1] * len(curves), list(length)
    for i in range(1, len(curves)):
        gap = [float(np.linalg.norm(x[curves[i][0]] - x[c], axis=1).min()) for c in curves[:i]]
        ends = [float(np.linalg.norm(x[curves[i][0]] - x[c[-1]])) for c in curves[:i]]
        parent[i] = int(np.argmin(np.minimum(np.array(ends), np.array(gap) + 1e-6)))
        reach[i] = length[i] + reach[parent[i]]
    tip = int(np.argmax(reach))
    chain: list[int] = []
    while tip >= 0:
        chain.insert(0, tip)
        tip = parent[tip]
    points = np.concatenate([curves[i] for i in chain])
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(x[points], axis=0), axis=1))]), points


def _tidy(axes: Any) -> None:
    axes.tick_params(colors=FAINT, labelsize=9.5, length=3)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(RULE)


def _figures_table(figure: Any, snapshot: Snapshot) -> None:
    figure.text(0.65, 0.316, "Key figures", fontsize=12.5, color=INK, fontweight="bold", va="center")
    y = 0.283
    for name, value, origin in list(figure_rows(snapshot.figures))[:9]:
        figure.text(0.65, y, name, fontsize=11, color=INK, va="center")
        figure.text(0.90, y, value, fontsize=11, color=INK, va="center", ha="right", fontweight="bold")
        figure.text(0.97, y, origin, fontsize=9.5, color=FAINT, va="center", ha="right")
        y -= 0.0255
    if snapshot.warnings:
        more = f" (and {len(snapshot.warnings) - 1} more)" if len(snapshot.warnings) > 1 else ""
        text = snapshot.warnings[0] + more
        figure.text(0.65, 0.03, text if len(text) < 96 else text[:93] + "…", fontsize=8.5, color="#a04a1c", va="center")


def figure_rows(figures: Any) -> Iterable[tuple[str, str, str]]:
    """Name, value with unit and interval, and origin of every figure, in words for a person."""
    for name, figure in figures.items():
        if name in FIGURE_NAMES:
            words = FIGURE_NAMES[name]
        elif name.startswith("pressure_drop_outlet_"):
            words = f"pressure drop to outlet {name.rsplit('_', 1)[1]}"
        else:
            words = name.replace("_", " ")
        yield words, figure_text(figure), figure.origin


def figure_text(figure: Figure) -> str:
    """Three digits and the unit, with the interval that holds 90 % where it is known."""
    unit = "" if figure.unit == "1" else f" {figure.unit}"
    if figure.interval_90 is None:
        return f"{_digits(figure.value)}{unit}"
    low, high = figure.interval_90
    return f"{_digits(figure.value)} ({_digits(low)} to {_digits(high)}){unit}"


def _digits(value: float) -> str:
    if not np.isfinite(value):
        return "unknown"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _save(figure: Any, path: Path) -> None:
    try:
        figure.savefig(path, format="png", facecolor=figure.get_facecolor(), metadata={"Software": "VesselFlowGS"})
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InputError(f"Cannot write {path}: {error.strerror}. Give another picture with -o.") from error
