"""Training: state, step, loop, mesh, checkpoints, run folder, writers, durations, random streams."""
