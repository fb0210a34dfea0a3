"""python -m VesselFlowGSLib: the command line."""

import sys

from VesselFlowGSLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
