"""GPO-VAE: an autoencoder of cells whose perturbation effects are a network of genes."""
