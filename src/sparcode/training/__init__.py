"""Training: runtime, compiled step, loop, checkpoints, logging."""
