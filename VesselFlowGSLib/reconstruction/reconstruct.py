"""The product's one verb: from a study to Snapshots, the first with the geometry, the last with the result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from VesselFlowGSLib.acquisition.study import RunRole, Study
from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.flow.solve import FlowSolver, NetworkField
from VesselFlowGSLib.gaussians.backends.declaration import preferring
from VesselFlowGSLib.gaussians.preparation import prepare
from VesselFlowGSLib.lumen.extraction import with_inlet
from VesselFlowGSLib.reconstruction.assembly import (
    OPERATORS_RUN_ON,
    Display,
    backends,
    first_look,
    flow_snapshot,
    geometry_snapshot,
    geometry_words,
    provenance,
)
from VesselFlowGSLib.reconstruction.boundary import (
    fluid_of,
    mean_arterial_pressure_pa,
    outlet_split,
    prescribed_inflow,
    split_of_branches,
)
from VesselFlowGSLib.reconstruction.checkpoint import Checkpoint
from VesselFlowGSLib.reconstruction.geometry import Geometry, first_lumen, first_opening_filled, reconstruct_geometry
from VesselFlowGSLib.reconstruction.inflow import InflowEstimate, NoArrival, estimate_inflow
from VesselFlowGSLib.reconstruction.live import Live, Pace, Plan, Progress, Step
from VesselFlowGSLib.reconstruction.settings import ReconstructionSettings
from VesselFlowGSLib.results.snapshot import Snapshot, Stage

LAMINAR_REYNOLDS = 1000.0
# how much of the geometry stage is done when the vessel is found, and when the C-arm is
VESSEL_FOUND, ARM_FOUND = 0.5, 0.65
# how much of the drawing is done when there are wall and cells
CELLS_DRAWN = 0.45


def reconstruct(
    study: Study,
    settings: ReconstructionSettings | None = None,
    start: Checkpoint | None = None,
    progress: Progress | None = None,
    live: Live | None = None,
) -> Iterator[Snapshot]:
    """Yield a Snapshot whenever a stage is finished: geometry, first flow, flow (round by round), done.

    start     a checkpoint of the same study and settings; what it holds is not computed again
    progress  told every step between Snapshots
    live      Snapshots between the stages too, the first as soon as there is a vessel; the result is the same
    All but the last are drawn coarsely. A checkpoint is in each but one that comes before the geometry is finished.
    Raises InputError where the study gives no geometry. Where the flow cannot be known, the last Snapshot says why.
    """
    settings = settings or ReconstructionSettings()
    yield from _Reconstruction(study, settings, start, progress or (lambda _: None), Pace(live), live).run()


@dataclass(frozen=True)
class _Seen:
    """What the snapshots of a flow share."""

    geometry: Geometry
    display: Display
    solver: FlowSolver
    checkpoint: Checkpoint


class _Reconstruction:
    """One run of the schedule: what all its stages share."""

    def __init__(
        self,
        study: Study,
        settings: ReconstructionSettings,
        start: Checkpoint | None,
        progress: Progress,
        pace: Pace,
        live: Live | None,
    ) -> None:
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise InstallationError(
                "device cuda: PyTorch sees no CUDA GPU here. Use --device auto or cpu, or install torch with CUDA."
            )
        backends(settings)  # asked before anything is computed
        self.study, self.settings, self.tell = study, settings, progress
        self.pace, self.live = pace, live
        self.fingerprint = fingerprint(study, settings)
        self.start = start if start is not None and start.fingerprint == self.fingerprint else None
        self.timings: dict[str, float] = {}
        self.warnings: list[str] = []
        if start is not None and self.start is None:
            self.warnings.append(
                "The checkpoint belongs to another study or other settings: everything is computed anew."
            )
        self.fluid, notes = fluid_of(study.description)
        self.warnings += notes
        self.inflow_given, notes = prescribed_inflow(study)
        self.warnings += notes
        lumen_given = study.description.geometry.lumen_file is not None
        self.plan = Plan.of(settings, lumen_given, self.inflow_given is not None)
        torch.manual_seed(settings.seed)

    def run(self) -> Iterator[Snapshot]:
        geometry = yield from self._geometry()
        with self._timed("display"):
            display = Display.preview(geometry.lumen, self.settings)
        checkpoint = Checkpoint(self.fingerprint, geometry.lumen, geometry.cloud, geometry.words, tuple(self.warnings))
        if self.start is not None:
            # what was known of the flow stays on disk until it is known better
            known = {name: getattr(self.start, name) for name in ("inflow_ml_s", "shares", "parameters", "iterations")}
            checkpoint = replace(checkpoint, **known)
        yield geometry_snapshot(
            geometry.lumen,
            geometry.cloud,
            display,
            self.settings,
            stage=Stage.GEOMETRY,
            **self._rest(geometry, self.plan.geometry(), _found(geometry), checkpoint),
        )
        if self.inflow_given is None and not geometry.runs:
            why = "no DSA run shows the vessel, and study.toml gives no inflow (flow.mean_inflow_ml_s)"
            yield self._unknown(geometry, checkpoint, why)
            return
        split, notes = outlet_split(self.study, geometry.lumen)
        self.warnings += notes
        try:
            yield from self._flow(geometry, display, split.shares, split.given, checkpoint)
        except NoArrival as error:
            yield self._unknown(geometry, checkpoint, str(error))

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        """Adds the seconds of a block, which is computed by the backend and on the threads of the settings."""
        with _Timed(self.timings, part), preferring(self.settings.backend, self.settings.threads):
            yield

    def _geometry(self) -> Generator[Snapshot, None, Geometry]:
        if self.start is not None:
            self.warnings += [w for w in self.start.warnings if w not in self.warnings]
            return Geometry.of_checkpoint(self.study, self.start, self.settings)
        self.tell(Step(0.0, "finding the vessel", Stage.GEOMETRY))
        with self._timed("geometry"):
            first = first_lumen(self.study, self.settings)
        if self.live is not None:
            part = self.plan.geometry(VESSEL_FOUND)
            yield first_look(
                first[0],
                self.settings,
                stage=Stage.GEOMETRY,
                progress=part,
                message="the vessel as it was first found",
                provenance=provenance(self.study, self.settings),
            )
        with self._timed("kernels"):
            prepare(OPERATORS_RUN_ON, self._told_geometry)
        with self._timed("geometry"):
            geometry = reconstruct_geometry(self.study, self.settings, first, self._told_geometry)
            self.warnings += geometry.warnings
            return self._with_inlet_of_dye(geometry)

    def _told_geometry(self, doing: str) -> None:
        part = self.plan.geometry(VESSEL_FOUND if doing.startswith(("finding", "preparing")) else ARM_FOUND)
        self.tell(Step(part, doing, Stage.GEOMETRY))

    def _with_inlet_of_dye(self, geometry: Geometry) -> Geometry:
        """Where no inlet was given, the opening that fills first is the inlet."""
        if self.study.description.geometry.inlet_lps_mm is not None or not geometry.runs:
            return geometry
        first = first_opening_filled(geometry)
        if first is None:
            self.warnings.append("No inlet was given and the frames do not tell: the widest end is taken as the inlet.")
            return geometry
        return replace(geometry, lumen=with_inlet(geometry.lumen, first))

    def _flow(
        self, geometry: Geometry, display: Display, shares: Any, given: bool, checkpoint: Checkpoint
    ) -> Iterator[Snapshot]:
        """Inflow and velocity field in turn: the field's shape tells the inflow, the inflow the Reynolds number."""
        schedule = self.settings.schedule
        start = self.start if self.start is not None and self.start.parameters is not None else None
        if start is not None and start.shares is not None and not given:
            shares, given = start.shares[list(geometry.lumen.tree.leaves)], True
        solver = FlowSolver(geometry.lumen, geometry.cloud, self.fluid, shares, self.settings.flow, self.settings.seed)
        estimate: InflowEstimate | None = None
        flow, reference = self.inflow_given, 1.0
        steps: int | None = None
        if start is not None and start.parameters is not None:
            solver.state.x = start.parameters.copy()
            solver.state.iterations = max(start.iterations, 1)
            steps = max(self.settings.flow.first_iterations - start.iterations, self.settings.flow.update_iterations)
            reference = start.inflow_ml_s or reference
        if flow is None:
            self.tell(Step(self.plan.geometry(), "reading the inflow from the dye", Stage.FIRST_FLOW))
            # anew after a resume too, since its interval and the arrivals are not stored
            estimate = self._inflow(geometry, solver, reference)
            flow = estimate.mean_ml_s
            if not given:
                shares = split_of_branches(estimate.branch_ml_s, geometry.lumen, shares)
                solver = FlowSolver(
                    geometry.lumen, geometry.cloud, self.fluid, shares, self.settings.flow, self.settings.seed
                )
        solver.set_inflow(flow)
        seen = _Seen(geometry, display, solver, checkpoint)
        by = "by the 1D network" if start is None else "as far as it was solved before"
        yield self._flow_snapshot(
            seen, estimate, Stage.FIRST_FLOW, self.plan.solved(0, 0), f"first flow, {by}: {flow:.3g} ml/s"
        )
        yield from self._solve(seen, estimate, flow, 0, steps)
        for number in range(1, schedule.rounds + 1 if estimate is not None else 1):
            doing = "reading the inflow with the solved velocity"
            self.tell(Step(self.plan.solved(number - 1, solver.state.iterations), doing, Stage.FLOW))
            try:
                estimate = self._inflow(geometry, solver, flow)
            except NoArrival as error:
                self.warnings.append(f"The inflow is the first reading; with the solved velocity, {error}.")
                break
            change, flow = abs(estimate.mean_ml_s / flow - 1), estimate.mean_ml_s
            message = f"flow {flow:.3g} ml/s, read with the solved velocity"
            solver.set_inflow(flow)
            yield self._flow_snapshot(seen, estimate, Stage.FLOW, self.plan.solved(number, 0), message)
            yield from self._solve(seen, estimate, flow, number)
            if change < schedule.enough_change:
                break
        final = replace(seen, display=self._final_display(geometry))
        self.tell(Step(self.plan.finishing(CELLS_DRAWN), "sampling the flow in the whole lumen", Stage.DONE))
        yield self._flow_snapshot(final, estimate, Stage.DONE, 1.0, f"flow {flow:.3g} ml/s, solved")

    def _final_display(self, geometry: Geometry) -> Display:
        self.tell(Step(self.plan.finishing(0.0), "drawing the wall and the cells of the result", Stage.DONE))
        with self._timed("display"):
            display = Display.of(geometry.lumen, self.settings)
        self.warnings += display.warnings
        return display

    def _solve(
        self, seen: _Seen, estimate: InflowEstimate | None, flow_ml_s: float, number: int, steps: int | None = None
    ) -> Iterator[Snapshot]:
        """One round of the flow solve; what a person who watches sees of it."""
        before = seen.solver.state.iterations
        taken = seen.solver.steps(flow_ml_s, steps)
        while True:
            with self._timed("flow"):
                step = next(taken, None)
            if step is None:
                return
            iteration, loss = step
            part = self.plan.solved(number, iteration - before)
            doing = f"solving the flow, step {iteration}, loss {loss:.2e}"
            self.tell(Step(part, doing, Stage.FLOW, iteration, self.plan.steps, loss))
            if self.pace.due():
                with self.pace:
                    snapshot = self._flow_snapshot(seen, estimate, Stage.FLOW, part, doing)
                yield snapshot

    def _inflow(self, geometry: Geometry, solver: FlowSolver, reference_ml_s: float) -> InflowEstimate:
        with self._timed("inflow"):
            solver.set_inflow(reference_ml_s)
            return estimate_inflow(
                geometry.cloud,
                NetworkField.of(solver),
                geometry.runs,
                geometry.cameras,
                self.settings.inflow,
                self.settings.seed,
            )

    def _flow_snapshot(
        self, seen: _Seen, estimate: InflowEstimate | None, stage: Stage, part: float, message: str
    ) -> Snapshot:
        geometry, solver, display = seen.geometry, seen.solver, seen.display
        flow = NetworkField.of(solver, display.memory)
        self._check_reynolds(flow)
        cloud = geometry.cloud
        if estimate is not None:
            cloud = replace(cloud, arrival_s=estimate.arrival_s)
        relative = None if estimate is None else estimate.sd_ml_s / estimate.mean_ml_s
        begun = replace(
            seen.checkpoint,
            inflow_ml_s=float(flow.scales.flow_ml_s),
            shares=solver.shares,
            parameters=flow.parameters if solver.state.iterations else None,
            iterations=solver.state.iterations,
            warnings=tuple(self.warnings),
        )
        with self._timed("derived"):
            return flow_snapshot(
                geometry.lumen,
                cloud,
                display,
                flow,
                self.fluid,
                relative,
                "estimated" if estimate is not None else "assumed",
                self.settings,
                stage,
                mean_arterial_pressure_pa(self.study.description),
                **self._rest(geometry, part, message, begun, {"status": "solved"}, estimate),
            )

    def _check_reynolds(self, flow: NetworkField) -> None:
        reynolds = 2 * flow.scales.reynolds
        text = (
            f"The Reynolds number is above {LAMINAR_REYNOLDS:.0f}: the flow may not be laminar and steady, "
            "as it is solved; mistrust pressure and wall shear stress."
        )
        if reynolds > LAMINAR_REYNOLDS and text not in self.warnings:
            self.warnings.append(text)

    def _unknown(self, geometry: Geometry, checkpoint: Checkpoint, why: str) -> Snapshot:
        display = self._final_display(geometry)
        message = "geometry only: the flow cannot be known"
        status = {"status": "unknown", "why": why}
        return geometry_snapshot(
            geometry.lumen,
            geometry.cloud,
            display,
            self.settings,
            stage=Stage.DONE,
            **self._rest(geometry, 1.0, message, checkpoint, status),
        )

    def _rest(
        self,
        geometry: Geometry,
        part: float,
        message: str,
        checkpoint: Checkpoint,
        status: dict[str, str] | None = None,
        estimate: InflowEstimate | None = None,
    ) -> dict[str, Any]:
        words = geometry_words(geometry.lumen, geometry.words)
        found: dict[str, Any] = dict(status or {"status": "pending"})
        if estimate is not None:
            found["dye"] = {
                "origin_mm": round(estimate.origin_mm, 2),
                "misfit": round(estimate.misfit, 3),
                "windows": [
                    {"branch": int(b), "path_mm": round(s, 2), "flow_ml_s": round(q, 4), "log_sd": _rounded(sd)}
                    for b, s, q, sd in estimate.windows.tolist()
                ],
            }
        return {
            "progress": part,
            "message": message,
            "geometry": words,
            "flow_status": found,
            "warnings": tuple(self.warnings),
            "provenance": provenance(self.study, self.settings),
            "timings_s": {name: round(seconds, 2) for name, seconds in self.timings.items()},
            "checkpoint": checkpoint.arrays(),
        }


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _found(geometry: Geometry) -> str:
    tree = geometry.lumen.tree
    length = sum(float(b.arc_length_mm[-1]) for b in tree.branches)
    outlets = len(geometry.lumen.outlets)
    return (
        f"vessel of {length:.0f} mm with {outlets} outlet{'s' if outlets != 1 else ''}, {len(geometry.cloud)} Gaussians"
    )


def fingerprint(study: Study, settings: ReconstructionSettings) -> str:
    """Tells studies and settings apart, for checkpoints."""
    digest = hashlib.sha256()
    matter = {name: value for name, value in asdict(settings).items() if name not in ("backend", "threads")}
    digest.update(json.dumps([asdict(study.description), matter], sort_keys=True, default=str).encode())
    if study.volume is not None:
        digest.update(np.ascontiguousarray(study.volume.values).data)
        digest.update(study.volume.affine.tobytes())
    for run in study.runs:
        if run.role in (RunRole.DSA, RunRole.FILL):
            digest.update(np.ascontiguousarray(run.line_integrals).data)
            digest.update(run.frame_times_s.tobytes())
    return digest.hexdigest()


class _Timed:
    """Adds the seconds of a block to a table."""

    def __init__(self, table: dict[str, float], name: str) -> None:
        self.table, self.name = table, name

    def __enter__(self) -> None:
        self.begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.table[self.name] = self.table.get(self.name, 0.0) + time.perf_counter() - self.begun
