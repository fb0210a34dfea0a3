"""python -m VesselFlowGSLib.worker JOB: compute the job of a folder."""

import os
import sys

from VesselFlowGSLib.worker.process import main

if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Nothing is left to do, and the usual way out has other ideas of the exit code: Python ends with SIGINT where an
    # interrupt came while a module was imported, and a library may crash when it is unloaded.
    os._exit(code)
