"""The small picture of how the residual falls, drawn without a chart view: it costs a millisecond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from VesselFlowGSLib.worker.messages import Progress


@dataclass(frozen=True)
class PictureStyle:
    """Sizes in pixels; colours of the stages in turn."""

    left: int = 56
    margin: int = 8
    bottom: int = 20
    least_width: int = 220
    height: int = 130
    line_width: int = 2
    colours: tuple[str, ...] = ("#2a78b5", "#c4572c", "#3f8f4f", "#8a5aa8")


@dataclass(frozen=True)
class Curve:
    """One stage's residuals: (part of all iterations, height between the ends of the logarithmic scale), both 0..1."""

    stage: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curves:
    """What is drawn: a curve a stage; low and high are the powers of ten at the ends of the scale."""

    curves: tuple[Curve, ...]
    low: int
    high: int
    iterations: int


def curves_of(history: Sequence[Progress], columns: int) -> Curves | None:
    """The residuals as curves of at most so many points; None where there is none above zero."""
    usable = [message for message in history if message.loss is not None and 0 < message.loss < math.inf]
    if not usable:
        return None
    every = max(1, len(usable) // columns)
    # the newest point is always among those kept
    kept = [(k, message) for k, message in enumerate(usable) if (len(usable) - 1 - k) % every == 0]
    levels = [math.log10(message.loss or 1.0) for _, message in kept]
    low, high = math.floor(min(levels)), math.ceil(max(levels))
    if low == high:
        high += 1
    last = max(1, len(usable) - 1)
    by_stage: dict[str, list[tuple[float, float]]] = {}
    for (k, message), level in zip(kept, levels, strict=True):
        by_stage.setdefault(message.stage, []).append((k / last, (level - low) / (high - low)))
    curves = tuple(Curve(stage, tuple(points)) for stage, points in by_stage.items())
    return Curves(curves, low, high, len(usable))


def picture_of(curves: Curves, width: int, ink: Any, style: PictureStyle = PictureStyle()) -> Any:
    """The curves as a QPixmap on transparent ground. ink: the QColor of text and axes."""
    width = max(width, style.least_width)
    pixmap = qt.QPixmap(width, style.height)
    pixmap.fill(qt.QColor(0, 0, 0, 0))
    left, right = style.left, width - style.margin
    top, bottom = style.margin, style.height - style.bottom
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setPen(qt.QPen(ink))
    painter.drawLine(left, top, left, bottom)
    painter.drawLine(left, bottom, right, bottom)
    for power in {curves.low, curves.high}:
        y = round(bottom - (power - curves.low) / (curves.high - curves.low) * (bottom - top))
        painter.drawLine(left - 4, y, left, y)
        painter.drawText(2, min(y + 10, bottom) if power == curves.high else y, f"1e{power:+d}")
    painter.drawText(left, style.height - 4, _("{count} iterations").format(count=curves.iterations))
    for k, curve in enumerate(curves.curves):
        pen = qt.QPen(qt.QColor(style.colours[k % len(style.colours)]))
        pen.setWidth(style.line_width)
        painter.setPen(pen)
        pixels = [(round(left + x * (right - left)), round(bottom - y * (bottom - top))) for x, y in curve.points]
        for start, end in zip(pixels, pixels[1:] or pixels, strict=False):
            painter.drawLine(*start, *end)
    painter.end()
    return pixmap
