"""The training loop: ensembles, checkpoints, exact resume."""
