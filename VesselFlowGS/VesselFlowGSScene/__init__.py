"""Snapshots and studies in MRML: everything here gets its scene passed in, and knows no Qt."""
