"""Fuzzing of the parsers that are ours: one target a parser, for atheris by hand and in CI, and with its seeds for pytest."""
