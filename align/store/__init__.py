"""Name by what went in, seal by what came out: fingerprints, JSON Lines, artifacts, locks, journals."""
