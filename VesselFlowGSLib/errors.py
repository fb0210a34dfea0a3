"""What can go wrong for a user, by the exit code that the command line ends with.

Every message says what is wrong, where (file, DICOM keyword and tag, or study.toml key) and what to do.
"""


class VesselFlowError(Exception):
    """A failure that a user can understand; its text is the whole message."""

    exit_code = 1


class InputError(VesselFlowError):
    """The study, a file in it, or an argument is wrong."""

    exit_code = 2


class Cancelled(VesselFlowError):
    """The user stopped the computation; what was computed so far is kept."""

    exit_code = 3


class ResourceError(VesselFlowError):
    """Memory or disk space ran out."""

    exit_code = 4


class InstallationError(VesselFlowError):
    """A library that the computation needs is missing or of a wrong version."""

    exit_code = 5
