"""VesselFlowGS: blood velocity and pressure from X-ray angiography, without a mesh.

The engine knows nothing of Slicer or Qt. Data goes one way through its packages:
acquisition -> gaussians -> lumen -> flow -> results -> reconstruction.
"""

__version__ = "0.1.0"
