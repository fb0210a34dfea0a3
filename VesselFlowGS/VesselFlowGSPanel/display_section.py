"""Display: how the case that is shown looks, what of it is pointed out, and the particles that move."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import VesselFlowError
from VesselFlowGSLib.results.snapshot import Finding, Snapshot
from VesselFlowGSPanel.choices import name_choices
from VesselFlowGSPanel.display import PARAMETER_OF, appearance_of
from VesselFlowGSPanel.following import Following
from VesselFlowGSPanel.layout import jump_to
from VesselFlowGSPanel.section import Section
from VesselFlowGSPanel.throttle import Throttle
from VesselFlowGSPanel.wording import digits
from VesselFlowGSScene.appearance import Appearance, CloudQuantity, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.over_time import Lack, lack_of

if TYPE_CHECKING:
    from VesselFlowGSScene.particles import Particles

# sliders ask for a new picture at every step; what is asked for in between is merged
SHOW_MS = 30
PARTICLE_MS = 33
# after a pause the particles go on where they were
LONGEST_STEP_S = 0.1

# which widgets make sense only while their switch is on
DEPENDENT: dict[str, tuple[str, ...]] = {
    "lumen": ("quantity", "opacity"),
    "glyphs": ("glyphCount", "glyphScale"),
    "streamlines": ("streamlineWidth",),
    "particles": ("particleCount", "particlePace"),
    "gaussians": ("gaussianQuantity", "gaussianSize"),
}


# under their names in the result
OVER_TIME = {Quantity.TAWSS: "tawss", Quantity.OSI: "osi"}
# the role under which an entry of a combo box keeps whether it can be chosen; 0: it cannot
ITEM_FLAGS = int(qt.Qt.UserRole) - 1


class DisplaySection(Section):
    """The appearance of the case that is shown."""

    NAME = "Display"

    def connect(self) -> None:
        self._shown: tuple[Any, ...] | None = None
        self._range: tuple[float, float] | None = None
        self._cases: list[str] = []
        self._findings: list[Finding] = []
        self._offered: tuple[str, ...] | None = None
        self._particles: Particles | None = None
        self._particle_phase: int | None = None
        self._ticked = 0.0
        self._show = Throttle(SHOW_MS, self.show_now)
        self._browser = Following(self.panel, vtk.vtkCommand.ModifiedEvent, self._show.ask)
        self._timer = qt.QTimer()
        self._timer.setInterval(PARTICLE_MS)
        self._timer.connect("timeout()", self.tick)
        self._titles = {kind: getattr(self.ui, name).text for kind, name in PARAMETER_OF.items()}
        self.ui.caseSelector.connect("currentIndexChanged(int)", self._choose)
        self.ui.automatic.connect("clicked(bool)", self._keep_range)
        self.ui.findingsList.connect("itemClicked(QListWidgetItem*)", lambda *_item: self.go_to_finding())

    def set_parameters(self, parameters: Any | None) -> None:
        super().set_parameters(parameters)
        if parameters is None:
            self._let_go()
        else:
            name_choices(self.ui.quantity, Quantity, quantity_name)
            self._offered = None
            name_choices(self.ui.gaussianQuantity, CloudQuantity, cloud_quantity_name)

    def update(self) -> None:
        parameters, case, snapshot = self.panel.parameters, self.panel.case, self.panel.snapshot
        if parameters is None:
            return
        appearance = appearance_of(parameters)
        self._list_cases(case)
        self._browser.follow(case.get(Role.BROWSER) if case is not None else None)
        running = self.panel.logic.running(case)
        if running is not None:
            running.appearance = appearance
        self._enable(appearance)
        self._offer(snapshot)
        self.ui.displayNote.text = display_note(snapshot, appearance)
        self.ui.displayNote.visible = bool(self.ui.displayNote.text)
        self._show_findings(snapshot)
        self._show_range(appearance)
        self._remember_range(case, appearance)
        if self._shown is None:
            # of a case that is there already: it looks as it was left
            self._shown = self._key(case, appearance)
            self._drive_particles(case, snapshot, appearance)
        elif self._is_stale(case, snapshot, appearance):
            self._show.ask()

    def close(self) -> None:
        self._let_go()

    def show_now(self) -> None:
        """Bring the scene up to the panel."""
        parameters, case, snapshot = self.panel.parameters, self.panel.case, self.panel.snapshot
        if parameters is None or case is None:
            return
        appearance = appearance_of(parameters)
        key = self._key(case, appearance)
        if snapshot is not None and key != self._shown:
            from VesselFlowGSScene.show import show

            try:
                show(case, snapshot, appearance, key[-1])
            except VesselFlowError as error:
                self.panel.report(str(error))
        self._shown = key
        self._drive_particles(case, snapshot, appearance)
        self._remember_range(case, appearance)

    def tick(self) -> None:
        """Move the particles by the time that went by."""
        now = time.monotonic()
        passed, self._ticked = min(now - self._ticked, LONGEST_STEP_S), now
        if self._particles is None or not self._particles.alive:
            self._stop_particles()
            return
        self._particles.advance(passed)

    def go_to_finding(self) -> None:
        """Bring the slice views to the marked place that is selected."""
        row = self.ui.findingsList.currentRow
        if 0 <= row < len(self._findings):
            jump_to(ras_of(self._findings[row].centre))

    def _choose(self, index: int) -> None:
        if not 0 <= index < len(self._cases):
            return
        node = slicer.mrmlScene.GetNodeByID(self._cases[index])
        if node is None:
            return
        self.panel.logic.select(Case(node))
        # of another case the panel's switches hold from now on
        self._shown = ()
        self.panel.refresh()

    def _list_cases(self, shown: Case | None) -> None:
        cases = Case.all_in(slicer.mrmlScene)
        names = [case.name for case in cases]
        box = self.ui.caseSelector
        box.blockSignals(True)
        if [box.itemText(k) for k in range(box.count)] != names:
            box.clear()
            box.addItems(names)
        self._cases = [case.node.GetID() for case in cases]
        if shown is not None and shown.node.GetID() in self._cases:
            box.setCurrentIndex(self._cases.index(shown.node.GetID()))
        box.blockSignals(False)
        box.enabled = len(cases) > 1

    def _key(self, case: Case | None, appearance: Appearance) -> tuple[Any, ...]:
        return (case.node.GetID() if case is not None else "", appearance, _phase_of(case))

    def _is_stale(self, case: Case | None, snapshot: Snapshot | None, appearance: Appearance) -> bool:
        if self._key(case, appearance) != self._shown:
            return True
        return self._particles is not None and self._particles.snapshot is not snapshot

    def _enable(self, appearance: Appearance) -> None:
        for switch, names in DEPENDENT.items():
            for name in names:
                getattr(self.ui, name).enabled = getattr(appearance, switch)
        coloured = appearance.lumen and appearance.quantity is not Quantity.NONE
        self.ui.automatic.enabled = coloured
        self.ui.locked.enabled = coloured and appearance.automatic
        manual = coloured and not appearance.automatic
        self.ui.low.enabled = self.ui.high.enabled = manual

    def _offer(self, snapshot: Snapshot | None) -> None:
        """Quantities over time can be chosen where they are known; else their entries say why not."""
        reasons = tuple(reason_against(snapshot, quantity) for quantity in Quantity)
        if reasons == self._offered:
            return
        self._offered = reasons
        for number, reason in enumerate(reasons):
            self.ui.quantity.setItemData(number, 0 if reason else None, ITEM_FLAGS)
            self.ui.quantity.setItemData(number, reason or None, int(qt.Qt.ToolTipRole))
        against = [reason for reason in dict.fromkeys(reasons) if reason]
        self.ui.quantity.toolTip = "\n".join([quantity_tip(), *against])

    def _show_findings(self, snapshot: Snapshot | None) -> None:
        found = list(snapshot.findings) if snapshot is not None else []
        for kind, name in PARAMETER_OF.items():
            count = sum(finding.kind is kind for finding in found)
            box = getattr(self.ui, name)
            box.text = f"{self._titles[kind]} ({count})" if snapshot is not None else self._titles[kind]
        wanted = {kind for kind, name in PARAMETER_OF.items() if getattr(self.panel.parameters, name)}
        self._findings = [finding for finding in found if finding.kind in wanted]
        texts = [finding.text for finding in self._findings]
        box = self.ui.findingsList
        if [box.item(k).text() for k in range(box.count)] != texts:
            box.clear()
            box.addItems(texts)
        box.visible = bool(texts)

    def _remember_range(self, case: Case | None, appearance: Appearance) -> None:
        node = case.get(Role.LUMEN) if case is not None else None
        if node is None or node.GetDisplayNode() is None or not appearance.automatic:
            return
        low, high = node.GetDisplayNode().GetScalarRange()
        # without values to colour by the two are upside down
        self._range = (low, high) if low < high else None
        self._show_range(appearance)

    def _show_range(self, appearance: Appearance) -> None:
        unit = unit_of(appearance.quantity)
        if appearance.automatic and self._range is not None and appearance.quantity is not Quantity.NONE:
            low, high = self._range
            unit = _("{unit}, now {low} to {high}").format(unit=unit, low=digits(low), high=digits(high)).lstrip(", ")
        self.ui.rangeUnit.text = unit

    def _keep_range(self, automatic: bool) -> None:
        """A person who switches to a typed range begins with the one that is seen."""
        if automatic or self._range is None:
            return
        parameters = self.panel.parameters
        with slicer.util.NodeModify(parameters):
            parameters.low, parameters.high = self._range

    def _drive_particles(self, case: Case | None, snapshot: Snapshot | None, appearance: Appearance) -> None:
        if not appearance.particles or case is None or snapshot is None or not _moves(snapshot):
            self._stop_particles()
            return
        held, phase = self._particles, _phase_of(case)
        same = (
            held is not None
            and held.case.node is case.node
            and held.snapshot is snapshot
            and held.appearance.particle_count == appearance.particle_count
        )
        if same and held is not None:
            held.appearance = appearance
            if phase != self._particle_phase:
                held.set_phase(phase)
        else:
            from VesselFlowGSScene.particles import Particles

            self._particles = Particles(case, snapshot, appearance, phase)
        self._particle_phase = phase
        if not self._timer.active:
            self._ticked = time.monotonic()
            self._timer.start()

    def _stop_particles(self) -> None:
        self._timer.stop()
        self._particles = None

    def _let_go(self) -> None:
        self._show.stop()
        self._stop_particles()
        self._browser.follow(None)
        self._shown = None
        self._range = None
        self._findings = []


def _phase_of(case: Case | None) -> int | None:
    from VesselFlowGSScene.timebase import phase_at

    return phase_at(case) if case is not None else None


def _moves(snapshot: Snapshot) -> bool:
    return snapshot.field is not None and "velocity" in snapshot.field.arrays


def display_note(snapshot: Snapshot | None, appearance: Appearance) -> str:
    """What a person should know about what is seen; "" for nothing."""
    if snapshot is None:
        return _("Nothing to show yet: start a reconstruction, or open a finished result.")
    if not appearance.automatic and appearance.low >= appearance.high:
        return _("The lower end of the colour range must be below the upper end.")
    if not _moves(snapshot):
        why = snapshot.flow_status.get("why", "")
        if snapshot.flow_status.get("status") == "unknown":
            why = why.rstrip(".") or _("no reason was given")
            return _("The flow could not be found ({why}); only the vessel is shown.").format(why=why)
        return _("The flow is still to be solved; only the vessel is shown.")
    if appearance.lumen and reason_against(snapshot, appearance.quantity):
        return reason_against(snapshot, appearance.quantity)
    if appearance.gaussians and appearance.gaussian_quantity is CloudQuantity.ARRIVAL and not _reached(snapshot):
        return _("When the contrast arrives at the Gaussians is not known: they are shown without colours.")
    return ""


def reason_against(snapshot: Snapshot | None, quantity: Quantity) -> str:
    """Why a quantity over time is not to be had of a result; "" where it is, and for all others."""
    if quantity not in OVER_TIME:
        return ""
    name = quantity_name(quantity)
    if snapshot is None:
        return _("{quantity}: no result yet.").format(quantity=name)
    lack = lack_of(snapshot, OVER_TIME[quantity])
    if lack is None:
        return ""
    return {
        Lack.STRESS: _("{quantity}: the result holds no wall shear stress over time."),
        Lack.PERIOD: _("{quantity}: the flow is steady; it needs a pulsatile one."),
        Lack.DIRECTION: _("{quantity}: the result holds the size of the wall shear stress, and not its direction."),
    }[lack].format(quantity=name)


def _reached(snapshot: Snapshot) -> bool:
    """Whether the arrival of the contrast is known of any Gaussian; of none there is nothing to miss."""
    cloud = snapshot.cloud
    return cloud is None or bool(np.isfinite(np.asarray(cloud.arrival_s)).any())


def quantity_name(quantity: Quantity) -> str:
    """A quantity of the wall with its unit."""
    return {
        Quantity.PRESSURE: _("Pressure (mmHg)"),
        Quantity.WSS: _("Wall shear stress (Pa)"),
        Quantity.TAWSS: _("Time-averaged wall shear stress (Pa)"),
        Quantity.OSI: _("Oscillatory shear index (0 to 0.5)"),
        Quantity.SPEED: _("Speed near the wall (m/s)"),
        Quantity.CONFIDENCE: _("Confidence (0 to 1)"),
        Quantity.NONE: _("Nothing"),
    }[quantity]


def cloud_quantity_name(quantity: CloudQuantity) -> str:
    """A quantity of the Gaussians with its unit."""
    return {
        CloudQuantity.SPEED: _("Speed (m/s)"),
        CloudQuantity.PRESSURE: _("Pressure (mmHg)"),
        CloudQuantity.ARRIVAL: _("Arrival of the contrast (s)"),
    }[quantity]


def quantity_tip() -> str:
    """What the box of the wall's quantities is for."""
    return _(
        "What colours the wall: pressure (mmHg), wall shear stress at an instant or over time (Pa), oscillatory shear "
        "index (0 to 0.5), speed (m/s), confidence (0 to 1), or nothing"
    )


def unit_of(quantity: Quantity) -> str:
    """The unit of a colour range."""
    units = {Quantity.PRESSURE: "mmHg", Quantity.WSS: "Pa", Quantity.TAWSS: "Pa", Quantity.SPEED: "m/s"}
    return units.get(quantity, "")
