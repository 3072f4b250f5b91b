"""The parts of variational autoencoders of cells: likelihoods, networks, effects, predictions."""
