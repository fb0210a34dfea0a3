"""The Gaussian operators: how true, how fast, how large; each figure beside its peer in the same run.

Times are processor time of one thread, the least of several, unless a line says otherwise, so that a busy machine
spoils no ratio. Peers (make peers): DiffDRR, RTK and ASTRA on the CPU, VTK's point Gaussians in software GL, SciPy's
k-d tree, gsplat on a GPU. Writes docs/operators.md too. Run by: make bench-operators [ROW=speed].
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from measuring import alone, cpu_ms, gpu_ms, two_free_cores, wall_ms
from numpy.typing import NDArray
from operators_alone import CUT, OPACITY, vessel_colours
from operators_page import NO_GPU, write_figures
from peer_densities import by_hash_grid, by_tree
from peer_projectors import Projector, astra_row, diffdrr_siddon, diffdrr_trilinear, missing, rtk_joseph
from projections import Project, Scene, forward, forward_backward, in_precision, projector, scene, why_not
from table import ROOT, Line, is_quick, path_of, run
from torch import Tensor
from vessel_clouds import carm_view, vessel_tree, voxels

from VesselFlowGSLib.acquisition.camera import carm_cameras
from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS, choose
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.density import density, density_on_grid
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.project import project as public_project
from VesselFlowGSLib.gaussians.splats import Splats, splats_of_cloud
from VesselFlowGSLib.gaussians.views import Views

sys.path.insert(0, str(ROOT / "Testing" / "gaussians"))
from gaussian_scenes import quadrature, random_cloud, skewed  # noqa: E402
from gaussian_scenes import views as two_views  # noqa: E402

Array = NDArray[np.float64]

FINE, COARSE = (512, 0.3), (256, 0.6)  # pixels along a side, mm
LOADED = "the machine is loaded"
TWO_CORES_GAIN = 1.85  # of two runs that share nothing: below, the machine does not give two cores


def accuracy(quick: bool) -> list[Line]:
    """The float64 reference against quadrature along rays, and the others in single precision against it."""
    cameras, cloud = skewed(two_views()), random_cloud(12, seed=1, aspect=30.0)
    exact = public_project(
        Parameters.of(cloud), cameras, cut=9.0, aperture=False, backend="reference"
    )[0].numpy()  # fmt: skip
    feet = np.round(cameras.pixels(cloud.mean)[0]).astype(int)
    pixels = np.concatenate([feet, np.random.default_rng(2).integers(0, cameras.rows, (40, 2))])
    pixels = pixels[((pixels >= 0) & (pixels < cameras.rows)).all(1)]
    apart = np.abs(exact[pixels[:, 0], pixels[:, 1]] - quadrature(cloud, cameras[0], pixels)).max()
    lines = [Line("reference against quadrature, of the maximum", "", 1e-9, float(apart / exact.max()))]
    given = scene(60 if quick else 200, 256, 0.6)
    truth = forward(projector("reference"), in_precision(given, torch.float64), 5.0)
    for name in _on_cpu():
        error = (forward(projector(name), given, 5.0) - truth).abs().max() / truth.max()
        lines.append(Line(f"{_label(name)} in float32 against it, of the maximum", "", 1e-5, float(error)))
    return lines


def gradients(quick: bool) -> list[Line]:
    """Gradients in the Gaussians, the weights and the views against central differences: the worst relative error."""
    cameras, cloud = skewed(two_views(32, 1.6)), random_cloud(5, seed=5)
    given, views = Parameters.of(cloud), Views.of(cameras)
    draw = np.random.default_rng(6)
    of_cloud = {
        "mean": given.mean, "log_sigma": given.log_sigma, "quaternion": given.quaternion, "density": given.density,
        "weights": torch.tensor(draw.uniform(0.2, 1, (5, 2))),
    }  # fmt: skip
    of_pose = {
        "rotation": torch.zeros(2, 3, dtype=torch.float64), "translation": torch.zeros(2, 3, dtype=torch.float64),
        "source": views.source, "origin": views.origin, "column_step": views.column_step, "row_step": views.row_step,
    }  # fmt: skip
    inputs = {**of_cloud, **of_pose}
    target = torch.tensor(draw.normal(size=(2, 32, 32, 2)))

    def loss(project: Project, x: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        gaussians = Parameters(*(x[k].to(dtype) for k in ("mean", "log_sigma", "quaternion", "density")))
        seen = Views(x["source"], x["origin"], x["column_step"], x["row_step"], 32, 32)
        moved = seen.moved(x["rotation"], x["translation"], torch.zeros(3, dtype=torch.float64))
        images = project(gaussians, moved, x["weights"].to(dtype), 8.0, True, 1).double()
        return (images * target).sum() + (images**2).sum()

    reference, step, numeric = projector("reference"), 1e-5, {}
    with torch.no_grad():
        for name, value in inputs.items():
            numeric[name] = torch.zeros_like(value)
            for place in np.ndindex(*value.shape):
                shift = torch.zeros_like(value)
                shift[place] = step
                up = loss(reference, {**inputs, name: value + shift}, torch.float64)
                down = loss(reference, {**inputs, name: value - shift}, torch.float64)
                numeric[name][place] = (up - down) / (2 * step)
    lines, declared = [], {b.name: b for b in BACKENDS}
    for name in _on_cpu():
        backend = declared[name]
        for precision, reach in (("float64", 1e-6), ("float32", 1e-4)):
            if precision not in backend.precisions or not backend.differentiable:
                continue
            leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
            loss(projector(name), leaves, getattr(torch, precision)).backward()
            for what, names in (("Gaussians and weights", of_cloud), ("views and poses", of_pose)):
                worst = max(_apart(leaves[k].grad, numeric[k]) for k in names)
                lines.append(Line(f"{_label(name)} in {precision}, {what}", "", reach, worst))
    return lines


def aperture(quick: bool) -> list[Line]:
    """The mean over a pixel's area against 8 x 8 rays through it, in double precision: single masses, a vessel."""
    single = 24
    draw = np.random.default_rng(0)
    pitch, magnification = 0.8, 1200 / 750
    small = GaussianCloud(
        draw.uniform(-8, 8, (single, 3)), draw.uniform(0.5, 2.0, (single, 3)) * pitch / magnification,
        draw.normal(size=(single, 4)), np.full(single, 0.02), np.ones(single), np.full(single, np.nan),
    )  # fmt: skip
    views = Views.of(two_views(64, pitch)[0])
    each = torch.eye(single, dtype=torch.float64)
    name = "torch"
    held = projector(name)(Parameters.of(small), views, each, 4.0, True, 1)
    mean = torch.zeros_like(held)
    for moved in _shifted(views, 8):
        mean += projector(name)(Parameters.of(small), moved, each, 8.0, False, 1) / 64
    mass = ((held - mean).sum((0, 1, 2)) / mean.sum((0, 1, 2))).abs().max()
    given = in_precision(scene(300 if quick else 2000, *COARSE), torch.float64)
    image, mean = forward(projector(name), given, 4.0), torch.zeros(1, 1)
    for moved in _shifted(given.views, 8):
        mean = mean + forward(projector(name), replace(given, views=moved), 8.0, aperture=False) / 64
    seen = mean > 0.01 * mean.max()
    rms = ((image - mean)[seen] ** 2).mean().sqrt() / mean.max()
    centre = forward(projector(name), given, 4.0, aperture=False)
    sampled = ((centre - mean)[seen] ** 2).mean().sqrt() / mean.max()
    return [
        Line("mass of one Gaussian of 0.5 to 2 px, worst of 24", "%", 0.1, 100 * float(mass)),
        Line("vessel of 2000, rms of the maximum", "", 5e-4, float(rms), float(sampled), beside="ray at the centre"),
    ]


def agreement(quick: bool) -> list[Line]:
    """Projectors of others on voxels of the cloud: their difference from ours falls as the voxels get finer."""
    cloud, camera, half = vessel_tree(500, seed=3, box_mm=22.0), carm_view(127, 0.6, secondary_deg=0.0), 26.0
    ours = public_project(cloud, camera, cut=6.0, aperture=False, threads=1)[0].double().numpy()
    lines = []
    volumes = [voxels(cloud, half, side, cut=6.0) for side in (0.5, 0.25)]
    peers: list[tuple[str, str, Projector, float | None]] = [
        ("RTK, Joseph", "itk.RTK", rtk_joseph, 3.0),
        ("DiffDRR, trilinear", "diffdrr.renderers", diffdrr_trilinear, 3.0),
        ("DiffDRR, Siddon", "diffdrr.renderers", diffdrr_siddon, None),
    ]
    for name, module, by_peer, reach in peers:
        what = f"{name}: difference falls from 0.5 to 0.25 mm"
        if why := missing(module.split(".")[0]):
            lines.append(Line(what, "×", reach, None, more_is_better=True, unmeasured=f"{name.split(',')[0]} {why}"))
            continue
        coarse, fine = (_rms(by_peer(volume, camera), ours) for volume in volumes)
        lines.append(Line(what, "×", reach, coarse / fine, more_is_better=True))
        lines.append(Line(f"{name}: rms at 0.25 mm, of the maximum", "", None, fine))
    what = "ASTRA, row in the plane of the source, of its maximum"
    if why := missing("astra"):
        return [*lines, Line(what, "", 3e-3, None, unmeasured=f"ASTRA {why}")]
    side = 0.05
    across = np.arange(side / 2 - half, half, side)
    plane = density_on_grid(cloud, (across[0], across[0], 0.0), side, (len(across), len(across), 1), cut=6.0)
    middle = camera.rows // 2
    row = ours[middle]
    apart = np.abs(astra_row(plane[:, :, 0], half, camera, middle) - row).max() / row.max()
    return [*lines, Line(what, "", 3e-3, float(apart))]


def speed(quick: bool) -> list[Line]:
    """One view of 20k Gaussians, forward and backward: ours beside plain torch, and beside Warp on the CPU."""
    lines = []
    name = choose("project").name
    for pixels, pitch in (COARSE, FINE):
        given, label = scene(20_000, pixels, pitch), f"20k at {pixels}²"
        for peer, reach in (("torch", 10.0), ("warp", 2.5)):
            what = f"{label}: {name} is faster than {_label(peer)}"
            if why := why_not(peer) or ("it is the one chosen" if peer == name else ""):
                lines.append(Line(what, "×", reach, None, more_is_better=True, unmeasured=why))
                continue
            ours, theirs = cpu_ms(_work(name, given), _work(peer, given), rounds=3 if quick else 7)
            lines.append(Line(f"{label}: forward and backward", "ms", None, ours, theirs, beside=_label(peer)))
            lines.append(Line(what, "×", reach, theirs / ours, more_is_better=True))
    return lines


def diffdrr(quick: bool) -> list[Line]:
    """2k Gaussians beside the way through voxels: DiffDRR with 200³ of them, the same image, forward and backward."""
    cloud, camera = vessel_tree(2000, seed=3), carm_view(255, 0.6)
    what = "2k at 255²: faster than DiffDRR with 200³ voxels"
    if why := missing("diffdrr"):
        return [Line(what, "×", 1000.0, None, more_is_better=True, unmeasured=f"DiffDRR {why}")]
    draw = torch.Generator().manual_seed(0)
    given = Scene(
        Parameters.of(cloud, torch.float32), Views.of(camera), torch.ones(2000, 1),
        torch.randn(1, 255, 255, 1, generator=draw),
    )  # fmt: skip
    volume = voxels(cloud, 50.0, 0.5, cut=4.0)
    ours, siddon, trilinear = cpu_ms(
        _work(choose("project").name, given),
        lambda: diffdrr_siddon(volume, camera, True),
        lambda: diffdrr_trilinear(volume, camera, True),
        rounds=1 if quick else 3,
    )
    return [
        Line("2k at 255²: forward and backward", "ms", None, ours, siddon, beside="DiffDRR, Siddon"),
        Line("2k at 255²: forward and backward", "ms", None, ours, trilinear, beside="DiffDRR, trilinear"),
        Line(what, "×", 1000.0, siddon / ours, more_is_better=True, beside="Siddon"),
    ]


def frames(quick: bool) -> list[Line]:
    """Many frames of a cloud at rest in one pass, forward and backward, against one frame."""
    name, counts = choose("project").name, (16, 64)
    one, *many = cpu_ms(*(_work(name, scene(20_000, *FINE, frames=count)) for count in (1, *counts)))
    return [
        Line("20k at 512²: one frame", "ms", None, one),
        *(
            Line(f"{count} frames cost of one", "×", reach, taken / one)
            for count, taken, reach in zip(counts, many, (2.5, 6.0), strict=True)
        ),
    ]


def threads(quick: bool) -> list[Line]:
    """Two threads against one, on the clock, where two cores are free before and after."""
    name, lines = choose("project").name, []
    for n in (20_000, 200_000):
        what, given, project = f"{n // 1000}k at 512²: 2 threads against 1", scene(n, *FINE), projector(name)
        gain, most = _two_against_one(lambda t, p=project, g=given: forward_backward(p, g, CUT, t))
        fair = two_free_cores() and most >= TWO_CORES_GAIN
        why = "" if fair else f"× {gain:.2f} where two runs that share nothing gain × {most:.2f}: {LOADED}"
        lines.append(Line(what, "×", 1.7, gain if fair else None, most, True, "two that share nothing", why))
    return lines


def memory(quick: bool) -> list[Line]:
    """The peak of a projection and its adjoint over their inputs, in a process of its own."""
    name = choose("project").name
    # what was freed before must have gone back to the system, or it would be taken again unseen
    give_back = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    ours, plain = (alone("memory", b, 200_000, 512, **give_back)["mb"] for b in (name, "torch"))
    return [Line("200k at 512², forward and backward", "MB", 60.0, ours, plain, beside="torch")]


def start(quick: bool) -> list[Line]:
    """Until every operator has run once on 8 Gaussians, torch and SciPy in use: compiled, and from the cache."""
    name = choose("project").name
    with tempfile.TemporaryDirectory() as folder:
        where = {"NUMBA_CACHE_DIR": folder, "WARP_CACHE_PATH": folder}
        cold = alone("start", name, **where)["seconds"]
        kept = min(alone("start", name, **where)["seconds"] for _ in range(3))
    return [
        Line(f"{name}: kernels from the cache", "s", 1.0, kept),
        Line(f"{name}: kernels compiled", "s", 15.0, cold),
    ]


def picture(quick: bool) -> list[Line]:
    """A frame of 20k Gaussians at 512², sorted anew, beside VTK's point Gaussians (unsorted) in software GL."""
    name, (pixels, pitch) = choose("composite").name, FINE
    view = next(iter(Views.of(carm_view(pixels, pitch))))
    splats = _splats(20_000, "cpu")
    draw = importlib.import_module(f"VesselFlowGSLib.gaussians.backends.{name}.composite").composite
    with torch.no_grad():
        ours = cpu_ms(lambda: draw(splats, view, CUT, 1), rounds=9)[0]
    lines = [
        Line(f"20k at 512²: frames of {name} in a second, one thread", "1/s", 15.0, 1e3 / ours, more_is_better=True)
    ]  # fmt: skip
    what = "20k at 512²: faster than VTK's point Gaussians"
    try:
        software = {"LIBGL_ALWAYS_SOFTWARE": "1", "VTK_DEFAULT_OPENGL_WINDOW": "vtkEGLRenderWindow"}
        vtk = alone("vtk_picture", 20_000, pixels, CUT, **software)["ms"]
    except RuntimeError:
        return [*lines, Line(what, "×", 5.0, None, more_is_better=True, unmeasured="VTK cannot draw here")]
    return [
        *lines,
        Line("20k at 512²: a frame", "ms", None, ours, vtk, beside="VTK, software GL"),
        Line(what, "×", 5.0, vtk / ours, more_is_better=True),
    ]


def density_at_points(quick: bool) -> list[Line]:
    """Density and gradient of 20k Gaussians at 100k points in the vessel."""
    name, cloud, many = choose("density").name, vessel_tree(20_000), 100_000
    draw = np.random.default_rng(0)
    points = cloud.mean[draw.integers(0, len(cloud), many)] + draw.normal(0, 0.8, (many, 3))
    few = many // 20

    def work() -> object:
        return density(cloud, points, cut=CUT, threads=1)

    ours, some_points = cpu_ms(work, lambda: by_tree(cloud, points[:few], CUT), rounds=3)
    tree = some_points * many / few
    lines = [
        Line("20k at 100k points", "ms", None, ours, tree, beside="k-d tree, no gradient, from 5k points"),
        Line(f"{name} is faster than a k-d tree and numpy", "×", 20.0, tree / ours, more_is_better=True),
    ]
    what = f"{name} is faster than Warp's hash grid"
    if why := missing("warp"):
        lines.append(Line(what, "×", 4.0, None, more_is_better=True, unmeasured=f"Warp: {why}"))
    else:
        ours, grid = cpu_ms(work, by_hash_grid(cloud, points, CUT), rounds=3)
        lines.append(Line("20k at 100k points", "ms", None, ours, grid, beside="Warp's hash grid on the CPU"))
        lines.append(Line(what, "×", 4.0, grid / ours, more_is_better=True))
    far, some = np.array([300.0, -300.0, 300.0]), points[:2000]
    moved = replace(cloud, mean=cloud.mean + far)
    truth = density(moved, some + far, cut=6.0, backend="torch")
    found = density(moved, some + far, cut=6.0)
    for label, a, b in zip(("density", "gradient"), found, truth, strict=True):
        error = float(np.abs(a - b).max() / np.abs(b).max())
        lines.append(Line(f"{label} far from the origin, of the maximum", "", 1e-5, error))
    return lines


def projection_on_gpu(quick: bool) -> list[Line]:
    """200k at 512², forward and backward, on the GPU's clock, beside plain torch on the same GPU."""
    told, faster = "200k at 512² on a GPU, forward and backward", "200k at 512²: faster than torch on the same GPU"
    if why := _no_gpu("project"):
        return [
            Line(told, "ms", 2.0, None, unmeasured=why),
            Line(faster, "×", 10.0, None, more_is_better=True, unmeasured=why),
        ]
    name, given = choose("project", device="cuda").name, scene(200_000, *FINE, device="cuda")
    best, torchs = projector(name), projector("torch")
    ours = gpu_ms(lambda: forward_backward(best, given, CUT))
    plain = gpu_ms(lambda: forward_backward(torchs, given, CUT), 3)
    return [
        Line(f"{told}, {torch.cuda.get_device_name()}", "ms", 2.0, ours, plain, beside="torch"),
        Line(faster, "×", 10.0, plain / ours, more_is_better=True),
    ]


def picture_on_gpu(quick: bool) -> list[Line]:
    """1M Gaussians at 1080p, beside gsplat on the same GPU."""
    told = "1M at 1080p on a GPU: frames in a second"
    if why := _no_gpu("composite"):
        return [Line(told, "1/s", 60.0, None, more_is_better=True, unmeasured=why)]
    camera = carm_cameras(np.radians(25.0), np.radians(10.0), 750.0, 1100.0, (0.14, 0.14), (1080, 1920))
    view, splats = next(iter(Views.of(camera, "cuda"))), _splats(1_000_000, "cuda")
    rates = {}
    with torch.no_grad():
        for name in (choose("composite", device="cuda").name, "gsplat"):
            if not why_not(name, "composite"):
                draw = importlib.import_module(f"VesselFlowGSLib.gaussians.backends.{name}.composite").composite
                rates[name] = 1e3 / gpu_ms(lambda d=draw: d(splats, view, CUT, 1), 20)
    ours = next(iter(rates))
    what = f"{told}, {ours}, {torch.cuda.get_device_name()}"
    return [Line(what, "1/s", 60.0, rates[ours], rates.get("gsplat"), more_is_better=True, beside="gsplat")]


def _no_gpu(operator: str) -> str:
    """Why nothing can be measured on a GPU here, or nothing."""
    if not torch.cuda.is_available():
        return NO_GPU
    return "" if choose(operator, device="cuda").name != "torch" else why_not("warp", operator)


def _splats(n: int, device: str) -> Splats:
    cloud = vessel_tree(n)
    return splats_of_cloud(cloud, vessel_colours(cloud.mean), OPACITY, torch.float32, device)


def _on_cpu() -> list[str]:
    """Backends whose projection can be called on the CPU, without the reference; Warp's shows its logic there."""
    declared = [b.name for b in BACKENDS if b.name == "warp" or "cpu" in b.devices]
    return [name for name in declared if name != "reference" and not why_not(name)]


def _label(backend: str) -> str:
    return "warp on the CPU" if backend == "warp" else backend


def _work(backend: str, given: Scene) -> Callable[[], Tensor]:
    project = projector(backend)
    return lambda: forward_backward(project, given, CUT)


def _two_against_one(work: Callable[[int], object], repeats: int = 7) -> tuple[float, float]:
    """How much faster two threads are, and how much two runs of one thread at once, which share nothing, gain."""

    def at_once() -> None:
        runs = [threading.Thread(target=work, args=(1,)) for _ in range(2)]
        for one in runs:
            one.start()
        for one in runs:
            one.join()

    for count in (1, 2):
        work(count)
    taken = [(wall_ms(lambda: work(1)), wall_ms(lambda: work(2)), wall_ms(at_once)) for _ in range(repeats)]
    one, two, both = (min(column) for column in zip(*taken, strict=True))
    return one / two, 2 * one / both


def _shifted(views: Views, many: int) -> list[Views]:
    """Views of many x many rays spread over every pixel's area."""
    at = (torch.arange(many, dtype=torch.float64) + 0.5) / many - 0.5
    return [
        replace(views, origin=views.origin + r * views.row_step + c * views.column_step) for r in at for c in at
    ]  # fmt: skip


def _apart(found: Tensor | None, wanted: Tensor) -> float:
    assert found is not None
    return float(torch.linalg.norm(found - wanted) / torch.linalg.norm(wanted))


def _rms(image: Array, wanted: Array) -> float:
    return float(np.sqrt(((image - wanted) ** 2).mean()) / wanted.max())


ROWS: Mapping[str, Callable[[bool], list[Line]]] = {
    "accuracy": accuracy,
    "gradients": gradients,
    "aperture": aperture,
    "agreement": agreement,
    "speed": speed,
    "diffdrr": diffdrr,
    "frames": frames,
    "threads": threads,
    "picture": picture,
    "density": density_at_points,
    "gpu": projection_on_gpu,
    "gpu-picture": picture_on_gpu,
    "memory": memory,
    "start": start,
}


def titles() -> dict[str, str]:
    """What each row is about."""
    return {row: (work.__doc__ or row).split(".\n")[0].removesuffix(".") for row, work in ROWS.items()}


def main() -> int:
    torch.set_num_threads(1)
    fell_short = run("operators", ROWS, ("VesselFlowGSLib/gaussians",))
    if not is_quick():
        write_figures(json.loads(path_of("operators").read_text()), titles())
    return fell_short


if __name__ == "__main__":
    raise SystemExit(main())
