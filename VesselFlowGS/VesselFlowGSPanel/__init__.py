"""The sections of the module panel, in the order of the work."""
