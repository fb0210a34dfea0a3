# Slicer writes its extension's configuration and package here; the stand-in does nothing.
