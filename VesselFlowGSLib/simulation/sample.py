"""The sample study that comes with the program."""

from __future__ import annotations

from VesselFlowGSLib.simulation.settings import SimulationSettings, settings_for


def sample_settings() -> SimulationSettings:
    """The settings of the sample study that comes with the program (Resources/sample_study)."""
    return settings_for(
        "stenosis",
        radius_mm=1.7,
        length_mm=46.0,
        severity=0.3,
        taper=0.9,
        lesion_at=0.45,
        bend_angle_deg=60.0,
        bend_length_mm=30.0,
        orientation_deg=(15.0, 20.0, 40.0),
        mean_inflow_ml_s=1.45,
        matrix=160,
        pitch_mm=0.5,
        frames=18,
        photons=9000.0,
        compression="jpeg",
        voxels=96,
        spacing_mm=0.5,
        time_to_peak_s=0.4,
        noise=18.0,
        seed=7,
        fields_of_truth=False,
    )
