from pathlib import Path

import numpy as np
import pytest
import pyvista as pv
import SimpleITK
from analytic_lumens import bent_tube

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.surface_file import lumen_from_file


def bend(closed: bool) -> pv.PolyData:
    points = bent_tube(radius_mm=1.5).tree.branches[0].points
    return pv.Spline(points, 300).tube(radius=1.5, n_sides=60, capping=closed).triangulate()


@pytest.mark.parametrize("name", ["lumen.stl", "lumen.vtp"])
def test_open_surface_opens_where_it_is_open(tmp_path: Path, name: str) -> None:
    bend(closed=False).save(tmp_path / name)
    lumen = lumen_from_file(tmp_path / name)
    truth = bent_tube(radius_mm=1.5)
    assert len(lumen.openings) == 2
    for o in lumen.openings:
        gap = min(np.linalg.norm(o.centre - t.centre) for t in truth.openings)
        assert gap < 0.15
        assert abs(o.radius_mm / 1.5 - 1) < 0.03
    (branch,) = lumen.tree.branches
    assert abs(branch.radius_mm.mean() / 1.5 - 1) < 0.02
    assert np.abs(truth.wall(branch.points) - 1.5).mean() < 0.05


def test_closed_surface_is_cut_at_clicks(tmp_path: Path) -> None:
    bend(closed=True).save(tmp_path / "lumen.stl")
    axis = bent_tube(radius_mm=1.5).tree.branches[0].points
    lumen = lumen_from_file(tmp_path / "lumen.stl", inlet=axis[60], outlets=[axis[-60]])
    assert np.linalg.norm(lumen.inlet.centre - axis[60]) < 0.1
    assert abs(lumen.tree.branches[0].radius_mm.mean() / 1.5 - 1) < 0.02


def test_labelmap_gives_the_tube(tmp_path: Path) -> None:
    truth = bent_tube(radius_mm=1.5)
    h, low = 0.3, np.array([-4.0, -4.0, 1.0])
    n = (90, 27, 60)
    x = low + h * np.stack(np.meshgrid(*map(np.arange, n), indexing="ij"), -1).reshape(-1, 3)
    label = SimpleITK.GetImageFromArray((truth.wall(x).reshape(n) > 0).astype(np.uint8).transpose(2, 1, 0))
    label.SetSpacing([h] * 3)
    label.SetOrigin(low.tolist())
    SimpleITK.WriteImage(label, str(tmp_path / "lumen.nrrd"))
    lumen = lumen_from_file(tmp_path / "lumen.nrrd")
    assert len(lumen.openings) == 2
    assert abs(lumen.tree.branches[0].radius_mm.mean() / 1.5 - 1) < 0.03


def test_what_is_no_lumen_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lumen.stl").write_bytes(b"no surface")
    pv.Sphere(radius=5000).save(tmp_path / "metre.stl")
    for name, message in (("lumen.stl", "no surface"), ("metre.stl", "millimetres"), ("gone.vtp", "not in the study")):
        with pytest.raises(InputError, match=rf"geometry\.lumen_file = {name}.*{message}"):
            lumen_from_file(tmp_path / name)
    with pytest.raises(InputError, match="give a surface"):
        lumen_from_file(tmp_path / "lumen.obj")
