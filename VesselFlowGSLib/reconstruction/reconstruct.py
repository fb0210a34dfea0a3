"""The product's one verb: from a study to Snapshots, the first with the geometry, the last with the result."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from VesselFlowGSLib.acquisition.study import RunRole, Study
from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.flow.solve import FlowSolver, NetworkField
from VesselFlowGSLib.lumen.extraction import with_inlet
from VesselFlowGSLib.reconstruction.assembly import (
    Display,
    flow_snapshot,
    geometry_snapshot,
    geometry_words,
    provenance,
)
from VesselFlowGSLib.reconstruction.boundary import fluid_of, outlet_split, prescribed_inflow, split_of_branches
from VesselFlowGSLib.reconstruction.checkpoint import Checkpoint
from VesselFlowGSLib.reconstruction.geometry import Geometry, first_opening_filled, reconstruct_geometry
from VesselFlowGSLib.reconstruction.inflow import InflowEstimate, NoArrival, estimate_inflow
from VesselFlowGSLib.reconstruction.settings import ReconstructionSettings
from VesselFlowGSLib.results.snapshot import Snapshot, Stage

Progress = Callable[[float, str], None]

LAMINAR_REYNOLDS = 1000.0
# parts of the whole time that end with each stage, as measured on two cores
GEOMETRY_PART, FIRST_FLOW_PART, FLOW_PART = 0.15, 0.3, 0.95


def reconstruct(
    study: Study,
    settings: ReconstructionSettings | None = None,
    start: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Iterator[Snapshot]:
    """Yield a Snapshot whenever a stage is finished: geometry, first flow, flow (round by round), done.

    start     a checkpoint of the same study and settings; what it holds is not computed again
    progress  told (part of the whole, what is being done) between Snapshots
    Raises InputError where the study gives no geometry. Where the flow cannot be known, the last Snapshot says why.
    """
    yield from _Reconstruction(study, settings or ReconstructionSettings(), start, progress or (lambda *_: None)).run()


class _Reconstruction:
    """One run of the schedule: what all its stages share."""

    def __init__(
        self, study: Study, settings: ReconstructionSettings, start: Checkpoint | None, progress: Progress
    ) -> None:
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise InstallationError(
                "device cuda: PyTorch sees no CUDA GPU here. Use --device auto or cpu, or install torch with CUDA."
            )
        self.study, self.settings, self.tell = study, settings, progress
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
        torch.manual_seed(settings.seed)

    def run(self) -> Iterator[Snapshot]:
        self.tell(0.0, "finding the vessel")
        with _Timed(self.timings, "geometry"):
            geometry = self._geometry()
        with _Timed(self.timings, "display"):
            display = Display.of(geometry.lumen, self.settings)
        self.warnings += display.warnings
        checkpoint = Checkpoint(self.fingerprint, geometry.lumen, geometry.cloud, geometry.words, tuple(self.warnings))
        if self.start is not None:
            # what was known of the flow stays on disk until it is known better
            known = {name: getattr(self.start, name) for name in ("inflow_ml_s", "shares", "parameters")}
            checkpoint = replace(checkpoint, **known)
        snapshot = geometry_snapshot(
            geometry.lumen,
            geometry.cloud,
            display,
            self.settings,
            stage=Stage.GEOMETRY,
            **self._rest(geometry, GEOMETRY_PART, _found(geometry), checkpoint),
        )
        yield snapshot
        if self.inflow_given is None and not geometry.runs:
            yield self._unknown(
                snapshot, "no DSA run shows the vessel, and study.toml gives no inflow (flow.mean_inflow_ml_s)"
            )
            return
        split, notes = outlet_split(self.study, geometry.lumen)
        self.warnings += notes
        try:
            yield from self._flow(geometry, display, split.shares, split.given, checkpoint)
        except NoArrival as error:
            yield self._unknown(snapshot, str(error))

    def _geometry(self) -> Geometry:
        if self.start is None:
            geometry = reconstruct_geometry(self.study, self.settings)
            self.warnings += geometry.warnings
        else:
            geometry = Geometry.of_checkpoint(self.study, self.start, self.settings)
            self.warnings += [w for w in self.start.warnings if w not in self.warnings]
        return self._with_inlet_of_dye(geometry)

    def _with_inlet_of_dye(self, geometry: Geometry) -> Geometry:
        """Where no inlet was given, the opening that fills first is the inlet."""
        if self.study.description.geometry.inlet_lps_mm is not None or not geometry.runs or self.start is not None:
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
        if start is not None and start.parameters is not None:
            solver.state.x = start.parameters.copy()
            solver.state.iterations = 1
            reference = start.inflow_ml_s or reference
        if flow is None:
            self.tell(GEOMETRY_PART, "reading the inflow from the dye")
            # anew after a resume too, since its interval and the arrivals are not stored
            estimate = self._inflow(geometry, solver, reference)
            flow = estimate.mean_ml_s
            if not given:
                shares = split_of_branches(estimate.branch_ml_s, geometry.lumen, shares)
                solver = FlowSolver(
                    geometry.lumen, geometry.cloud, self.fluid, shares, self.settings.flow, self.settings.seed
                )
        solver.set_inflow(flow)
        yield self._flow_snapshot(
            geometry, display, solver, estimate, Stage.FIRST_FLOW, FIRST_FLOW_PART,
            f"first flow, by the 1D network: {flow:.3g} ml/s", checkpoint,
        )  # fmt: skip
        rounds = schedule.rounds if estimate is not None else 0
        steps = self.settings.flow.first_iterations + rounds * self.settings.flow.update_iterations
        self._solve(solver, flow, steps)
        for _ in range(rounds):
            try:
                estimate = self._inflow(geometry, solver, flow)
            except NoArrival as error:
                self.warnings.append(f"The inflow is the first reading; with the solved velocity, {error}.")
                break
            change, flow = abs(estimate.mean_ml_s / flow - 1), estimate.mean_ml_s
            part = _flow_part(solver, steps)
            message = f"flow {flow:.3g} ml/s, read with the solved velocity"
            solver.set_inflow(flow)
            yield self._flow_snapshot(geometry, display, solver, estimate, Stage.FLOW, part, message, checkpoint)
            self._solve(solver, flow, steps)
            if change < schedule.enough_change:
                break
        yield self._flow_snapshot(
            geometry, display, solver, estimate, Stage.DONE, 1.0, f"flow {flow:.3g} ml/s, solved", checkpoint
        )

    def _solve(self, solver: FlowSolver, flow_ml_s: float, steps: int) -> None:
        def told(iteration: int, loss: float) -> None:
            self.tell(_flow_part(solver, steps), f"solving the flow, step {iteration}, loss {loss:.2e}")

        with _Timed(self.timings, "flow"):
            solver.solve(flow_ml_s, progress=told)

    def _inflow(self, geometry: Geometry, solver: FlowSolver, reference_ml_s: float) -> InflowEstimate:
        with _Timed(self.timings, "inflow"):
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
        self,
        geometry: Geometry,
        display: Display,
        solver: FlowSolver,
        estimate: InflowEstimate | None,
        stage: Stage,
        part: float,
        message: str,
        checkpoint: Checkpoint,
    ) -> Snapshot:
        flow = NetworkField.of(solver)
        self._check_reynolds(flow)
        cloud = geometry.cloud
        if estimate is not None:
            cloud = replace(cloud, arrival_s=estimate.arrival_s)
        relative = None if estimate is None else estimate.sd_ml_s / estimate.mean_ml_s
        begun = replace(
            checkpoint,
            inflow_ml_s=float(flow.scales.flow_ml_s),
            shares=solver.shares,
            parameters=flow.parameters if solver.state.iterations else None,
            warnings=tuple(self.warnings),
        )
        with _Timed(self.timings, "derived"):
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

    def _unknown(self, snapshot: Snapshot, why: str) -> Snapshot:
        return replace(
            snapshot,
            stage=Stage.DONE,
            progress=1.0,
            message="geometry only: the flow cannot be known",
            flow_status={"status": "unknown", "why": why},
            warnings=tuple(self.warnings),
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


def _flow_part(solver: FlowSolver, steps: int) -> float:
    """Part of the whole that is done when the solver has taken some of its steps."""
    return FIRST_FLOW_PART + (FLOW_PART - FIRST_FLOW_PART) * min(solver.state.iterations / max(steps, 1), 1.0)


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
    digest.update(json.dumps([asdict(study.description), asdict(settings)], sort_keys=True, default=str).encode())
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
