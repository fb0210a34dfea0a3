"""What is known of the flow before it is solved: the fluid, a prescribed inflow, the split at the outlets."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.description import StudyDescription
from VesselFlowGSLib.acquisition.study import Study
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.flow.network1d import murray_shares
from VesselFlowGSLib.lumen.wall import Lumen
from VesselFlowGSLib.units import PASCAL_PER_MMHG

Array = NDArray[np.float64]
STEADY_WITHIN = 0.05  # a table of the inflow that varies by less, as part of its mean, is steady


def fluid_of(description: StudyDescription) -> tuple[Fluid, list[str]]:
    """The fluid as study.toml has it, and what had to be assumed."""
    said = description.fluid
    notes: list[str] = []
    if said.viscosity_pa_s is None:
        notes.append("Viscosity was not given (fluid.viscosity_pa_s): 0.0035 Pa s is assumed.")
    if said.density_kg_m3 is None:
        notes.append("Density was not given (fluid.density_kg_m3): 1060 kg/m3 is assumed.")
    if said.model not in (None, "newtonian"):
        notes.append(
            f"fluid.model {said.model!r} is not solved yet: blood is taken as Newtonian with the viscosity stated."
        )
    if said.hematocrit is not None:
        notes.append("fluid.hematocrit is not used yet: the viscosity does not follow from it.")
    default = Fluid()
    return (
        Fluid(said.density_kg_m3 or default.density_kg_m3, said.viscosity_pa_s or default.viscosity_pa_s),
        notes,
    )


def mean_arterial_pressure_pa(description: StudyDescription) -> float | None:
    """Diastolic pressure and a third of the pulse pressure, as usual at rest; None where the cuff's are not given."""
    low, high = description.patient.diastolic_mmhg, description.patient.systolic_mmhg
    return None if low is None or high is None else (low + (high - low) / 3) * PASCAL_PER_MMHG


def prescribed_inflow(study: Study) -> tuple[float | None, list[str]]:
    """Mean inflow, ml/s, where study.toml gives one (as a number or a table over time); and notes."""
    said = study.description.flow
    notes: list[str] = []
    mean, pulsatile = said.mean_inflow_ml_s, said.waveform == "pulsatile"
    if said.inflow_csv is not None:
        time, flow = _inflow_table(study.folder / said.inflow_csv).T
        mean = float((np.diff(time) * (flow[1:] + flow[:-1]) / 2).sum() / (time[-1] - time[0]))
        if not mean > 0:
            raise InputError(f"{said.inflow_csv}: the mean of flow_ml_s must be positive, not {mean:g}.")
        pulsatile |= bool(np.ptp(flow) > STEADY_WITHIN * mean)
    if pulsatile:
        notes.append("The flow is solved as steady, at its mean over the cycle; pulsation is not solved yet.")
    return mean, notes


def _inflow_table(path: Path) -> Array:
    """(n, 2) time_s, flow_ml_s; raises InputError with the line that is wrong."""
    where = path.name
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{where}: cannot be read ({error}); see flow.inflow_csv in study.toml.") from None
    if len(rows) < 2 or not {"time_s", "flow_ml_s"} <= set(rows[0][1]):
        raise InputError(f"{where}: needs a header time_s,flow_ml_s and at least two rows.")
    values: list[tuple[float, float]] = []
    for number, row in rows:
        try:
            pair = float(row["time_s"]), float(row["flow_ml_s"])
        except (TypeError, ValueError):
            raise InputError(f"{where}, line {number}: not two numbers.") from None
        if not all(math.isfinite(v) for v in pair):
            raise InputError(f"{where}, line {number}: not finite.")
        if values and pair[0] <= values[-1][0]:
            raise InputError(f"{where}, line {number}: time_s must increase from line to line.")
        values.append(pair)
    return np.array(values)


@dataclass(frozen=True)
class Split:
    """Part of the inflow that leaves every leaf of the tree, and whether the user said so."""

    shares: Array
    given: bool


def outlet_split(study: Study, lumen: Lumen) -> tuple[Split, list[str]]:
    """Shares from study.toml where all outlets, or all but one, have one; else Murray's law."""
    leaves = lumen.tree.leaves
    if len(leaves) == 1:
        return Split(np.ones(1), True), []
    said = study.description.outlet
    shares = [o.share for o in said] + [None] * (len(lumen.outlets) - len(said))
    known = [s for s in shares if s is not None]
    notes: list[str] = []
    if any(o.pressure_pa is not None or o.resistance_pa_s_ml is not None for o in said):
        notes.append("Outlet pressures and resistances are not solved yet; the split is found otherwise.")
    if len(known) >= len(lumen.outlets) - 1 and len(shares) == len(lumen.outlets):
        # a single share that was not given is what remains
        rest = max(1 - sum(known), 0.0)
        by_leaf = {o.branch: rest if s is None else s for o, s in zip(lumen.outlets, shares, strict=True)}
        values = np.array([by_leaf[leaf] for leaf in leaves])
        return Split(values / values.sum(), True), notes
    if known:
        notes.append("The outlets' shares are used only where all but one are given; the split is found otherwise.")
    return Split(murray_shares(lumen.tree), False), notes


def split_of_branches(branch_ml_s: Array, lumen: Lumen, fallback: Array) -> Array:
    """Shares of the leaves from flows that the dye told, where it told them for every leaf."""
    flows = branch_ml_s[list(lumen.tree.leaves)]
    return np.asarray(flows / flows.sum()) if np.isfinite(flows).all() else fallback
