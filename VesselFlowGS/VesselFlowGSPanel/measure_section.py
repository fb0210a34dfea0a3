"""Measure: flow through a plane, pressure drop between two places, values at a point, flow split and balance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from VesselFlowGSLib.results.snapshot import Phase, Snapshot
from VesselFlowGSPanel.following import Following
from VesselFlowGSPanel.layout import show_chart, show_table
from VesselFlowGSPanel.measured import (
    Balance,
    Drop,
    balance_of,
    branch_lengths_mm,
    drop_between,
    nearest_branch,
    position_of,
)
from VesselFlowGSPanel.section import Section
from VesselFlowGSPanel.table import show_rows
from VesselFlowGSPanel.throttle import Throttle
from VesselFlowGSPanel.wording import UNKNOWN, digits, interval_text, pressure_text, shown_unit
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.frames import lps_of

if TYPE_CHECKING:
    from VesselFlowGSLib.results.course import BranchCourse
    from VesselFlowGSLib.results.sections import FieldSampler, PlaneCut
    from VesselFlowGSScene.probe import Reading

# a plane that is dragged is measured at most so often
MEASURE_MS = 60
# charts and table that were asked for follow the instant at most so often
REDRAW_MS = 120


class MeasureSection(Section):
    """Cut plane, A to B, probe, split, and the charts along the centreline."""

    NAME = "Measure"

    def connect(self) -> None:
        moved = slicer.vtkMRMLMarkupsNode.PointModifiedEvent
        self._sampled: tuple[Snapshot, FieldSampler | None] | None = None
        self._at_phase: tuple[int | None, FieldSampler | None] | None = None
        self._coursed: tuple[Snapshot, Phase | None, tuple[BranchCourse, ...]] | None = None
        self._placed: tuple[str, int, float] | None = None
        self._probed = ""
        self._ours = False
        self._dragged = False
        self._read: tuple[Any, ...] | None = None
        # apart, so that the window lives in between
        self._measure_plane = Throttle(MEASURE_MS, self.measure_plane)
        self._measure_probe = Throttle(MEASURE_MS, self.measure_probe)
        self._redraw = Throttle(REDRAW_MS, self.redraw)
        self._plane = Following(self.panel, moved, self._plane_moved)
        self._probe = Following(self.panel, moved, self._probe_moved)
        self._browser = Following(self.panel, vtk.vtkCommand.ModifiedEvent, self._see_changes)
        self.ui.branch.connect("currentIndexChanged(int)", lambda number: self._set("branch", int(number)))
        self.ui.cutPosition.connect("valueChanged(double)", lambda mm: self._set("cut_mm", float(mm)))
        self.ui.fromPosition.connect("valueChanged(double)", lambda mm: self._set("course_from_mm", float(mm)))
        self.ui.toPosition.connect("valueChanged(double)", lambda mm: self._set("course_to_mm", float(mm)))
        self.ui.pressureChartButton.connect("clicked(bool)", lambda *_checked: self.show_pressure())
        self.ui.areaChartButton.connect("clicked(bool)", lambda *_checked: self.show_area())
        self.ui.courseTableButton.connect("clicked(bool)", lambda *_checked: self.show_course())

    def set_parameters(self, parameters: Any | None) -> None:
        super().set_parameters(parameters)
        if parameters is None:
            self._let_go()

    def update(self) -> None:
        parameters, case, snapshot = self.panel.parameters, self.panel.case, self.panel.snapshot
        if parameters is None:
            return
        lengths = branch_lengths_mm(snapshot.centreline) if snapshot is not None else ()
        self._show_positions(lengths)
        flows = snapshot is not None and _flows(snapshot)
        self.ui.cutPosition.enabled = flows and bool(lengths)
        # what is on can be switched off, also where there is nothing to measure
        self.ui.cutPlane.enabled = flows and bool(lengths) or parameters.cut_plane
        self.ui.probe.enabled = flows or parameters.probe
        for widget in (self.ui.fromPosition, self.ui.toPosition, self.ui.areaChartButton, self.ui.courseTableButton):
            widget.enabled = bool(lengths)
        self.ui.pressureChartButton.enabled = bool(lengths) and flows
        if case is None or snapshot is None:
            for followed in (self._plane, self._probe, self._browser):
                followed.follow(None)
        else:
            self._browser.follow(case.get(Role.BROWSER))
            self._keep_tools(case, snapshot, lengths)
        self._see_changes()

    def close(self) -> None:
        self._let_go()

    def measure_plane(self) -> None:
        """Read the flow through the plane anew, where it lies now and at the instant that is shown."""
        case, snapshot = self.panel.case, self.panel.snapshot
        if self.panel.parameters is None:
            return
        text = self._missing(snapshot)
        if case is not None and snapshot is not None and case.get(Role.CUT_PLANE) is not None and not text:
            from VesselFlowGSScene.cutplane import measure

            self._ours = True
            try:
                text = cut_text(measure(case, snapshot, self._sampler(snapshot)))
            finally:
                self._ours = False
            if self._dragged:
                self._dragged = False
                self._follow_plane(case, snapshot)
        self.ui.cutReadout.text = text

    def measure_probe(self) -> None:
        """Read the probe anew, where it lies now and at the instant that is shown."""
        case, snapshot = self.panel.case, self.panel.snapshot
        if self.panel.parameters is None:
            return
        text = self._missing(snapshot)
        if case is not None and snapshot is not None and case.get(Role.PROBE) is not None and not text:
            from VesselFlowGSScene.probe import read_probe

            self._ours = True
            try:
                text = reading_text(read_probe(case, snapshot, self._sampler(snapshot), self._phase()))
            finally:
                self._ours = False
        self.ui.probeReadout.text = text

    def redraw(self) -> None:
        """Bring the course along the centreline up to the instant that is shown, where it was asked for before."""
        case, snapshot = self.panel.case, self.panel.snapshot
        if case is None or snapshot is None or case.get(Role.COURSE_TABLE) is None:
            return
        from VesselFlowGSScene.plots import course_charts

        course_charts(case, snapshot, self._phase())

    def show_pressure(self) -> None:
        """The pressure along the centreline as a chart."""
        self._show_course(0)

    def show_area(self) -> None:
        """The area along the centreline as a chart."""
        self._show_course(1)

    def show_course(self) -> None:
        """The course along the centreline as a table."""
        case, snapshot = self.panel.case, self.panel.snapshot
        if case is None or snapshot is None:
            return
        from VesselFlowGSScene.plots import course_charts

        course_charts(case, snapshot, self._phase())
        table = case.get(Role.COURSE_TABLE)
        if table is not None:
            show_table(table)

    def _see_changes(self) -> None:
        """Read anew what another snapshot, another instant or another switch changes."""
        parameters, case, snapshot = self.panel.parameters, self.panel.case, self.panel.snapshot
        if parameters is None:
            return
        phase = self._phase()
        seen = (snapshot, case.node.GetID() if case is not None else "", phase)
        others = self._read is None or seen[0] is not self._read[0] or seen[1:] != self._read[1:3]
        if others:
            self._show_balance(snapshot)
            if self._read is not None:
                self._redraw.ask()
        if others or self._read is None or self._read[3] != (parameters.cut_plane, self._placed):
            self._measure_plane.ask()
        if others or self._read is None or self._read[4] != parameters.probe:
            self._measure_probe.ask()
        self._read = (*seen, (parameters.cut_plane, self._placed), parameters.probe)
        self.ui.dropReadout.text = self._drop_text(snapshot)

    def _missing(self, snapshot: Snapshot | None) -> str:
        return _("Needs a solved flow.") if snapshot is not None and not _flows(snapshot) else ""

    def _show_course(self, which: int) -> None:
        case, snapshot = self.panel.case, self.panel.snapshot
        if case is None or snapshot is None:
            return
        from VesselFlowGSScene.plots import course_charts

        chart = course_charts(case, snapshot, self._phase())[which]
        if chart is not None:
            show_chart(chart)

    def _set(self, name: str, value: Any) -> None:
        parameters = self.panel.parameters
        if parameters is not None and getattr(parameters, name) != value:
            setattr(parameters, name, value)

    def _show_positions(self, lengths: tuple[float, ...]) -> None:
        """Branches and the ends of the sliders; positions that were not chosen yet show middle, start and end."""
        from VesselFlowGSScene.tables import branch_name

        parameters, box = self.panel.parameters, self.ui.branch
        names = [branch_name(k, len(lengths)) for k in range(len(lengths))]
        box.blockSignals(True)
        if [box.itemText(k) for k in range(box.count)] != names:
            box.clear()
            box.addItems(names)
        if names:
            box.setCurrentIndex(self._branch(lengths))
        box.blockSignals(False)
        box.enabled = len(names) > 1
        length = lengths[self._branch(lengths)] if lengths else 0.0
        for slider, mm, otherwise in (
            (self.ui.cutPosition, parameters.cut_mm, 0.5 * length),
            (self.ui.fromPosition, parameters.course_from_mm, 0.0),
            (self.ui.toPosition, parameters.course_to_mm, length),
        ):
            slider.blockSignals(True)
            slider.maximum = max(length, slider.singleStep)
            slider.value = otherwise if mm < 0 else min(mm, length)
            slider.blockSignals(False)

    def _branch(self, lengths: tuple[float, ...]) -> int:
        return min(max(int(self.panel.parameters.branch), 0), len(lengths) - 1)

    def _keep_tools(self, case: Case, snapshot: Snapshot, lengths: tuple[float, ...]) -> None:
        """Plane and probe are in the scene as long as their switches are on."""
        from VesselFlowGSScene.cutplane import place_plane, remove_plane
        from VesselFlowGSScene.probe import place_probe, remove_probe

        self._see_deletions(case)
        parameters = self.panel.parameters
        if parameters.cut_plane and lengths and _flows(snapshot):
            wanted = (case.node.GetID(), self._branch(lengths), float(self.ui.cutPosition.value))
            there = case.get(Role.CUT_PLANE) is not None
            if self._placed is None and there:
                # of a scene that was reopened: it stays where it was left
                self._placed = wanted
            if wanted != self._placed or not there:
                self._placed = wanted
                self._ours = True
                place_plane(case, snapshot, wanted[2], wanted[1])
                self._ours = False
        elif not parameters.cut_plane:
            self._placed = None
            self._plane.follow(None)
            remove_plane(case)
        if parameters.probe and _flows(snapshot):
            place_probe(case, snapshot)
            self._probed = case.node.GetID()
        elif not parameters.probe:
            self._probed = ""
            self._probe.follow(None)
            remove_probe(case)
        self._plane.follow(case.get(Role.CUT_PLANE))
        self._probe.follow(case.get(Role.PROBE))

    def _see_deletions(self, case: Case) -> None:
        """A person who removes plane or probe from the scene does not want it any more."""
        here = case.node.GetID()
        if self._placed is not None and self._placed[0] == here and case.get(Role.CUT_PLANE) is None:
            self._placed = None
            self._set("cut_plane", False)
        if self._probed == here and case.get(Role.PROBE) is None:
            self._probed = ""
            self._set("probe", False)

    def _plane_moved(self) -> None:
        if not self._ours:
            self._dragged = True
            self._measure_plane.ask()

    def _probe_moved(self) -> None:
        if not self._ours:
            self._measure_probe.ask()

    def _follow_plane(self, case: Case, snapshot: Snapshot) -> None:
        """Let branch and slider say where a person dragged the plane to, without moving it."""
        plane = case.get(Role.CUT_PLANE)
        if plane is None or snapshot.centreline is None:
            return
        origin = np.zeros(3)
        plane.GetOriginWorld(origin)
        branch = nearest_branch(snapshot.centreline, lps_of(origin))
        length = branch_lengths_mm(snapshot.centreline)[branch]
        slider, parameters = self.ui.cutPosition, self.panel.parameters
        slider.blockSignals(True)
        slider.maximum = length
        slider.value = position_of(snapshot.centreline, branch, lps_of(origin))
        slider.blockSignals(False)
        # what the slider holds, which may have fewer digits
        self._placed = (case.node.GetID(), branch, float(slider.value))
        with slicer.util.NodeModify(parameters):
            parameters.branch = branch
            parameters.cut_mm = float(slider.value)

    def _drop_text(self, snapshot: Snapshot | None) -> str:
        if snapshot is None or snapshot.centreline is None:
            return ""
        courses = self._courses(snapshot)
        if not courses:
            return ""
        course = courses[min(max(int(self.panel.parameters.branch), 0), len(courses) - 1)]
        return drop_text(drop_between(course, self.ui.fromPosition.value, self.ui.toPosition.value))

    def _courses(self, snapshot: Snapshot) -> tuple[BranchCourse, ...]:
        """Along every branch at the instant that is shown; made once a snapshot and once a phase."""
        number = self._phase()
        phase = None if number is None or number >= len(snapshot.phases) else snapshot.phases[number]
        if self._coursed is None or self._coursed[0] is not snapshot or self._coursed[1] is not phase:
            from VesselFlowGSLib.results.course import course_of

            self._coursed = (snapshot, phase, course_of(snapshot, phase))
        return self._coursed[2]

    def _show_balance(self, snapshot: Snapshot | None) -> None:
        balance = None if snapshot is None or not _flows(snapshot) else balance_of(snapshot)
        # plane and probe beside it show an instant
        mean = snapshot is not None and bool(snapshot.phases)
        self.ui.splitGroup.title = (
            _("Flow split and mass balance, mean over the period") if mean else _("Flow split and mass balance")
        )
        titles = (_("Opening"), _("Flow"), _("Share"), _("Interval (90 %)"))
        show_rows(
            self.ui.splitTable, titles, [] if balance is None or snapshot is None else balance_rows(balance, snapshot)
        )

    def _phase(self) -> int | None:
        from VesselFlowGSScene.timebase import phase_at

        case = self.panel.case
        return phase_at(case) if case is not None else None

    def _sampler(self, snapshot: Snapshot) -> FieldSampler | None:
        """Of the field at the instant that is shown; made once a snapshot and once a phase."""
        from VesselFlowGSScene.cutplane import sampler_of

        if self._sampled is None or self._sampled[0] is not snapshot:
            self._sampled, self._at_phase = (snapshot, sampler_of(snapshot)), None
        base, phase = self._sampled[1], self._phase()
        if base is None or snapshot.field is None or phase is None or phase >= len(snapshot.phases):
            return base
        if self._at_phase is None or self._at_phase[0] != phase:
            arrays = {**snapshot.field.arrays, **snapshot.phases[phase].field}
            self._at_phase = (phase, base.with_arrays(arrays["velocity"], arrays["pressure"]))
        return self._at_phase[1]

    def _let_go(self) -> None:
        self._measure_plane.stop()
        self._measure_probe.stop()
        self._redraw.stop()
        for followed in (self._plane, self._probe, self._browser):
            followed.follow(None)
        self._sampled = self._at_phase = self._coursed = self._placed = None
        self._probed = ""
        self._read = None
        self._dragged = False


def cut_text(cut: PlaneCut | None) -> str:
    """What flows through the plane, a line a quantity."""
    if cut is None:
        return _("The plane does not cut the vessel here.")
    return "\n".join(
        (
            _("Flow: {flow} ml/s").format(flow=digits(cut.flow_ml_s)),
            _("Area: {area} mm²").format(area=digits(cut.area_mm2)),
            _("Mean speed: {speed} m/s").format(speed=digits(cut.mean_speed_m_s)),
            _("Mean pressure: {pressure}").format(pressure=pressure_text(cut.mean_pressure_pa)),
        )
    )


def reading_text(reading: Reading | None) -> str:
    """What is at the probe, a line a quantity."""
    if reading is None:
        return ""
    away = reading.wall_distance_mm
    if not reading.inside:
        if away is None:
            return _("The probe is outside the vessel.")
        return _("The probe is outside the vessel, {distance} mm from its wall.").format(distance=digits(away))
    lines = []
    if reading.speed_m_s is not None:
        lines.append(_("Speed: {speed} m/s").format(speed=digits(reading.speed_m_s)))
    if reading.pressure_pa is not None:
        lines.append(_("Pressure: {pressure}").format(pressure=pressure_text(reading.pressure_pa)))
    if reading.wss_pa is not None:
        lines.append(_("Wall shear stress nearby: {stress} Pa").format(stress=digits(reading.wss_pa)))
    if away is not None:
        lines.append(_("Distance to the wall: {distance} mm").format(distance=digits(away)))
    return "\n".join(lines)


def drop_text(drop: Drop) -> str:
    """What lies between A and B, a line a quantity."""
    lines = []
    if drop.pressure_pa is not None:
        lines.append(_("Pressure drop: {pressure}").format(pressure=pressure_text(drop.pressure_pa)))
    else:
        lines.append(_("Pressure drop: not known, the flow is not solved"))
    if drop.stenosis_percent is not None:
        lines.append(_("Diameter stenosis: {percent} %").format(percent=digits(drop.stenosis_percent)))
    lines.append(
        _("Area: {first} mm² upstream, {least} mm² at the narrowest, {last} mm² downstream").format(
            first=digits(drop.area_mm2[0]), least=digits(drop.least_area_mm2), last=digits(drop.area_mm2[1])
        )
    )
    return "\n".join(lines)


def balance_rows(balance: Balance, snapshot: Snapshot) -> list[tuple[str, str, str, str]]:
    """The openings, and inflow against outflow."""
    rows = []
    for opening in balance.openings:
        share = UNKNOWN if opening.share is None else f"{100 * opening.share:.1f} %"
        rows.append((opening.name, _flow_text(opening.flow_ml_s), share, _interval_of(opening.name, snapshot)))
    part = UNKNOWN if balance.part is None else f"{100 * balance.part:.1f} %"
    rows.append((_("in minus out"), _flow_text(balance.missing_ml_s), part, UNKNOWN))
    return rows


def _flow_text(flow_ml_s: float) -> str:
    return _("{flow} ml/s").format(flow=digits(flow_ml_s))


def _interval_of(opening: str, snapshot: Snapshot) -> str:
    """Of the inflow for the inlet, of the share for an outlet."""
    name = "mean_inflow" if opening == "inlet" else f"flow_split_{opening.replace(' ', '_')}"
    figure = snapshot.figures.get(name)
    if figure is None or figure.interval_90 is None:
        return UNKNOWN
    return f"{interval_text(name, figure)} {shown_unit(name, figure)}"


def _flows(snapshot: Snapshot) -> bool:
    return snapshot.field is not None and {"velocity", "pressure"} <= set(snapshot.field.arrays)
