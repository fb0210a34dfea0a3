"""The sample study: bundled, entered into Slicer's Sample Data, and loaded as a person would choose it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

from VesselFlowGSLib.acquisition.reader import read_study

ROOT = Path(__file__).resolve().parents[2]


class SampleDataStandIn:
    """Stands in for SampleDataLogic of Slicer 5.12: the two class methods that register, with their own names."""

    def __init__(self) -> None:
        self.categories: dict[str, str] = {}
        self.sources: list[dict[str, Any]] = []

    def registerCustomSampleDataCategory(self, category: str, title: str) -> None:  # noqa: N802
        self.categories[category] = title

    def registerCustomSampleDataSource(  # noqa: N802
        self,
        category: str = "Custom",
        sampleName: str | None = None,  # noqa: N803
        uris: Any = None,
        fileNames: Any = None,  # noqa: N803
        nodeNames: Any = None,  # noqa: N803
        customDownloader: Any = None,  # noqa: N803
        thumbnailFileName: str | None = None,  # noqa: N803
    ) -> None:
        assert len(uris) == len(fileNames) == len(nodeNames)
        self.sources.append({"category": category, "load": customDownloader, "thumbnail": thumbnailFileName})


class OlderSampleDataStandIn(SampleDataStandIn):
    """That of Slicer 5.10, which knows no titles of categories."""

    def __getattribute__(self, name: str) -> Any:
        if name == "registerCustomSampleDataCategory":
            raise AttributeError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("logic", [SampleDataStandIn, OlderSampleDataStandIn])
def test_the_sample_is_entered_with_a_picture(slicer_host: Any, logic: Any) -> None:
    from PIL import Image

    from VesselFlowGSPanel.samples import CATEGORY, register

    asked = []
    thumbnail = ROOT / "VesselFlowGS" / "Resources" / "Icons" / "SampleArtery.png"
    held = logic()
    register(held, str(thumbnail), lambda: asked.append(True))
    (source,) = held.sources
    assert source["category"] == CATEGORY
    assert Image.open(source["thumbnail"]).size == (260, 280)
    source["load"](None)
    assert asked == [True]


def test_the_loaded_sample_is_the_bundled_study(panel: Any, tmp_path: Path) -> None:
    from VesselFlowGSPanel.inputs import study_inputs
    from VesselFlowGSPanel.samples import load_sample, sample_folder
    from VesselFlowGSScene.study_files import write_study

    load_sample(panel.parameters)
    write_study(tmp_path / "study", study_inputs(panel.parameters))
    mine, bundled = read_study(tmp_path / "study"), read_study(sample_folder())
    np.testing.assert_allclose(mine.volume.affine, bundled.volume.affine, atol=1e-5)
    np.testing.assert_array_equal(mine.volume.values, bundled.volume.values)
    assert len(mine.runs) == 2
    for run, other in zip(mine.runs, bundled.runs, strict=True):
        np.testing.assert_array_equal(run.line_integrals, other.line_integrals)
    said, wanted = mine.description.geometry, bundled.description.geometry
    assert said.inlet_lps_mm == pytest.approx(wanted.inlet_lps_mm)
    assert said.isocentre_lps_mm == pytest.approx(wanted.isocentre_lps_mm)


def test_an_installation_without_the_sample_says_what_to_do(
    slicer_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from VesselFlowGSLib.errors import InputError
    from VesselFlowGSPanel import samples

    monkeypatch.setattr(samples, "__file__", str(tmp_path / "VesselFlowGS" / "VesselFlowGSPanel" / "samples.py"))
    with pytest.raises(InputError, match="Simulate"):
        samples.sample_folder()
