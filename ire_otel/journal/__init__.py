"""The crash journal: what a process records, in memory-mapped files that survive it."""
