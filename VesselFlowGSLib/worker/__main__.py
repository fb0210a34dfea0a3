"""python -m VesselFlowGSLib.worker JOB: compute the job of a folder."""

import sys

from VesselFlowGSLib.worker.process import main

if __name__ == "__main__":
    sys.exit(main())
