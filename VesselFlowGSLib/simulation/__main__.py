"""python -m VesselFlowGSLib.simulation FOLDER: writes the sample study anew (Resources/sample_study)."""

from __future__ import annotations

import sys
from pathlib import Path

from VesselFlowGSLib.errors import VesselFlowError
from VesselFlowGSLib.simulation.sample import sample_settings
from VesselFlowGSLib.simulation.simulate import simulate

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        simulate(sample_settings(), Path(sys.argv[1]))
    except VesselFlowError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
