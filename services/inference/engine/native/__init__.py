"""Kernels in C, for processors: compiled where the engine runs, for the processor that it runs on."""
