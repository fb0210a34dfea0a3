"""Warp's kernels compile for every generation of NVIDIA GPUs, which needs neither a GPU nor its driver."""

from __future__ import annotations

import importlib

import pytest

wp = pytest.importorskip("warp")

KERNELS = ("footprint", "tiles", "project", "composite", "density")
# Turing, Ampere (A100, RTX 30), Ada, Hopper, Blackwell (B200, RTX 50).
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_every_architecture(name, tmp_path):
    module = importlib.import_module(f"VesselFlowGSLib.gaussians.backends.warp.{name}")
    wp.compile_aot_module(module, device=None, arch=ARCHITECTURES, module_dir=tmp_path)
    sizes = {p.suffixes[-2]: p.stat().st_size for p in tmp_path.glob("*.cubin")}
    assert sorted(sizes) == sorted(f".sm{a}" for a in ARCHITECTURES)
    assert min(sizes.values()) > 1000
