"""A result in words for a person: names, values with units, and how sure they are. For research use only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from slicer.i18n import tr as _

from VesselFlowGSLib.results.snapshot import Figure, Snapshot, Stage
from VesselFlowGSLib.units import PASCAL_PER_MMHG

UNKNOWN = "–"


@dataclass(frozen=True)
class MatchSettings:
    """Correlations of the seen and the projected vessel from which on the agreement is called good, or fair."""

    good: float = 0.9
    fair: float = 0.75


@dataclass(frozen=True)
class FigureRow:
    """One line of the table of figures."""

    name: str
    value: str
    interval: str
    origin: str


def digits(value: float) -> str:
    """Three significant digits, never with an exponent below a million."""
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    # of the rounded value: 9.999 is 10.0
    size = int(f"{value:.2e}".partition("e")[2])
    if -4 <= size < 6:
        return f"{value:.{max(0, 2 - size)}f}"
    return f"{value:.2e}"


def pressure_text(pascal: float) -> str:
    """A pressure in mmHg, with pascal beside it."""
    return f"{digits(pascal / PASCAL_PER_MMHG)} mmHg ({digits(pascal)} Pa)"


def figure_rows(snapshot: Snapshot) -> list[FigureRow]:
    """Every figure of a snapshot in words."""
    return [
        FigureRow(figure_name(name), value_text(name, figure), interval_text(name, figure), origin_text(figure.origin))
        for name, figure in snapshot.figures.items()
    ]


def figure_name(name: str) -> str:
    """A figure's name for a person; unknown ones as they are, readable."""
    known = {
        "mean_inflow": _("Mean inflow"),
        "pressure_drop": _("Pressure drop"),
        "resting_pressure_ratio": _("Resting pressure ratio (research)"),
        "max_speed": _("Highest speed"),
        "mean_wss": _("Mean wall shear stress"),
        "max_wss": _("Highest wall shear stress"),
        "reynolds": _("Reynolds number"),
        "womersley": _("Womersley number"),
        "lumen_volume": _("Lumen volume"),
        "min_radius": _("Smallest radius"),
        "length": _("Length of the centreline"),
        "viscosity": _("Viscosity"),
        "density": _("Density"),
        "period": _("Period"),
        "diameter_stenosis": _("Diameter stenosis"),
        "mass_balance": _("Mass balance"),
        "flow_split": _("Part of the inflow"),
    }
    if name in known:
        return known[name]
    head, _outlet, number = name.rpartition("_outlet_")
    if head:
        return _("{figure}, outlet {number}").format(figure=figure_name(head), number=number)
    return name.replace("_", " ").capitalize()


def value_text(name: str, figure: Figure) -> str:
    """The value with its unit; pressures in mmHg."""
    factor, unit = _shown_unit(name, figure)
    return f"{digits(figure.value * factor)} {unit}".strip()


def interval_text(name: str, figure: Figure) -> str:
    """The interval that holds 90 %, in the unit of value_text; a dash where it is not known."""
    if figure.interval_90 is None:
        return UNKNOWN
    factor, _unit = _shown_unit(name, figure)
    low, high = figure.interval_90
    return _("{low} to {high}").format(low=digits(low * factor), high=digits(high * factor))


def shown_unit(name: str, figure: Figure) -> str:
    """The unit of value_text and interval_text."""
    return _shown_unit(name, figure)[1]


def origin_text(origin: str) -> str:
    """Where a figure comes from."""
    return {"measured": _("measured"), "estimated": _("estimated"), "assumed": _("assumed")}.get(origin, origin)


def confidence_sentence(snapshot: Snapshot | None) -> str:
    """How sure the result is, in one or two sentences."""
    if snapshot is None:
        return _("No result yet.")
    status = snapshot.flow_status.get("status", "pending")
    if status == "unknown":
        why = snapshot.flow_status.get("why", "")
        return _("The flow could not be found: {why}. The shape of the vessel stands by itself.").format(
            why=why.rstrip(".") or _("no reason was given")
        )
    if status == "pending":
        return _("Only the shape of the vessel is known so far; the flow is still to be solved.")
    parts = []
    if snapshot.stage is not Stage.DONE:
        parts.append(_("Preliminary: the solution still sharpens."))
    inflow = snapshot.figures.get("mean_inflow")
    if inflow is not None:
        parts.append(_inflow_sentence(inflow))
    parts.append(_match_sentence(snapshot))
    return " ".join(part for part in parts if part)


def certainty_text(snapshot: Snapshot | None) -> str:
    """What of the result was measured, what was estimated and what was assumed, a line each."""
    if snapshot is None or not snapshot.figures:
        return ""
    lines = []
    for origin, words in (
        ("measured", _("Measured from the images: {names}.")),
        ("estimated", _("Estimated by the reconstruction: {names}.")),
        ("assumed", _("Assumed, not known from this study: {names}.")),
    ):
        names = [_uncapitalised(figure_name(k)) for k, figure in snapshot.figures.items() if figure.origin == origin]
        if names:
            lines.append(words.format(names=", ".join(names)))
    if any(figure.interval_90 is not None for figure in snapshot.figures.values()):
        lines.append(_("Intervals hold 90 % of the uncertainty that was followed; errors of the model come on top."))
    return "\n".join(lines)


def view_rows(snapshot: Snapshot | None) -> list[tuple[str, str, str]]:
    """Run, agreement and the shift that is left, for every view."""
    return [
        (
            view.run,
            UNKNOWN if view.match is None else f"{view.match:.2f} ({match_word(view.match)})",
            UNKNOWN if view.shift_px is None else _("{shift} px").format(shift=f"{view.shift_px:.2f}"),
        )
        for view in (() if snapshot is None else snapshot.views)
    ]


def match_word(match: float, settings: MatchSettings = MatchSettings()) -> str:
    """How good an agreement with the images is."""
    if match >= settings.good:
        return _("good")
    return _("fair") if match >= settings.fair else _("poor")


def _inflow_sentence(inflow: Figure) -> str:
    value = value_text("mean_inflow", inflow)
    if inflow.origin == "assumed":
        return _("The inflow of {value} was assumed: speeds and pressures are right only as far as it is.").format(
            value=value
        )
    if inflow.origin == "measured":
        return _("The inflow of {value} was given.").format(value=value)
    if inflow.interval_90 is None:
        return _("The inflow was estimated from the images as {value}.").format(value=value)
    return _("The inflow was estimated from the images as {value} (90 % interval: {interval}).").format(
        value=value, interval=interval_text("mean_inflow", inflow)
    )


def _match_sentence(snapshot: Snapshot, settings: MatchSettings = MatchSettings()) -> str:
    seen = [view for view in snapshot.views if view.match is not None]
    if not seen:
        return ""
    worst = min(seen, key=lambda view: view.match or 0.0)
    good = sum((view.match or 0.0) >= settings.good for view in seen)
    if good == len(seen):
        return _("All {count} runs agree well with the result (least: {match} in {run}).").format(
            count=len(seen), match=f"{worst.match:.2f}", run=worst.run
        )
    return _("{good} of {count} runs agree well with the result; the least is {run}: {match} ({word}).").format(
        good=good,
        count=len(seen),
        run=worst.run,
        match=f"{worst.match:.2f}",
        word=match_word(worst.match or 0.0, settings),
    )


def _shown_unit(name: str, figure: Figure) -> tuple[float, str]:
    if figure.unit == "Pa" and "pressure" in name:
        return 1 / PASCAL_PER_MMHG, "mmHg"
    if name.startswith("flow_split"):
        return 100.0, "%"
    return 1.0, "" if figure.unit == "1" else figure.unit


def _uncapitalised(text: str) -> str:
    # a name such as Reynolds keeps its capital
    return text if text.startswith(("Reynolds", "Womersley")) else text[:1].lower() + text[1:]
