"""Units that people read, in those that the engine holds."""

# conventional millimetre of mercury: 13595.1 kg/m3 times 9.80665 m/s2 times 1 mm (NIST SP 811, appendix B)
PASCAL_PER_MMHG = 133.322
