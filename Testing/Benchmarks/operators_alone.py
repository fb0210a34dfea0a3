"""What wants a process of its own: python operators_alone.py memory|start|vtk_picture … prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

CUT = 3.5  # as fits use it
OPACITY = 0.5


def memory(backend: str, n: str, pixels: str) -> dict[str, float]:
    """MB that a projection and its adjoint take at their peak, over the inputs and the loaded kernels."""
    import torch
    from projections import forward_backward, projector, scene

    torch.set_num_threads(1)
    project = projector(backend)
    forward_backward(project, scene(8, 32, 4.0), CUT)
    given = scene(int(n), int(pixels), 0.3 * 512 / int(pixels))
    before = _lowered_peak_mb()
    forward_backward(project, given, CUT)
    return {"mb": _peak_mb() - before}


def start(backend: str) -> dict[str, float]:
    """Seconds of processor time until the first projections, densities and pictures of 8 Gaussians are there."""
    import scipy.linalg  # noqa: F401 - numba loads it too, and the engine has it by then
    import torch

    torch.set_num_threads(1)
    from vessel_clouds import vessel_tree

    from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS

    cloud, operators = vessel_tree(8), {b.name: b.operators for b in BACKENDS}[backend]
    # torch's own first backward call imports for most of a second, whatever is differentiated
    leaf = torch.zeros(1, requires_grad=True)
    (leaf * 2).backward(torch.ones(1))
    begun = time.process_time()
    from projections import forward_backward, projector, scene

    project = projector(backend)
    for frames in (1, 16):
        forward_backward(project, scene(8, 32, 4.0, frames), CUT)
    if "density" in operators:
        from VesselFlowGSLib.gaussians.density import density

        density(cloud, cloud.mean, backend=backend, threads=1)
    if "composite" in operators:
        import numpy as np
        from vessel_clouds import carm_view

        from VesselFlowGSLib.gaussians.composite import composite

        composite(cloud, np.ones((8, 3)), carm_view(32, 4.0), backend=backend, threads=1)
    return {"seconds": time.process_time() - begun}


def vessel_colours(mean: Any) -> Any:
    """(N, 3) red, green, blue by place."""
    return (mean / 100 + 0.5).clip(0, 1)


def vtk_picture(n: str, pixels: str, cut: str) -> dict[str, float]:
    """Milliseconds of VTK's point Gaussians; GL that is not there would end the process."""
    import numpy as np
    from peer_pictures import VtkPicture
    from vessel_clouds import carm_view, vessel_tree

    cloud = vessel_tree(int(n))
    colours = np.column_stack([vessel_colours(cloud.mean), np.full(len(cloud), OPACITY)])
    camera = carm_view(int(pixels), 0.3 * 512 / int(pixels))
    drawn = VtkPicture(cloud, (255 * colours).astype(np.uint8), camera, float(cut))
    taken = drawn.frame_ms()
    if not drawn.image().any():
        raise RuntimeError("VTK's picture is black")
    return {"ms": taken}


def _lowered_peak_mb() -> float:
    """What is held now, after the record of the peak is set back to it where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return _peak_mb()


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps({"memory": memory, "start": start, "vtk_picture": vtk_picture}[sys.argv[1]](*sys.argv[2:])))
