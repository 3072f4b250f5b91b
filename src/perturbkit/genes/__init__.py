"""Gene names and gene features."""

from perturbkit.core.catalog import Catalog
from perturbkit.genes.card import EmbeddingCard as EmbeddingCard
from perturbkit.genes.control_pca import card as control_pca_card
from perturbkit.genes.degree import card as degree_card
from perturbkit.genes.fingerprints import card as fingerprints_card
from perturbkit.genes.membership import card as membership_card
from perturbkit.genes.random_walk import card as random_walk_card
from perturbkit.genes.spectral import card as spectral_card
from perturbkit.genes.table import esm2, gene2vec, genept, scgpt
from perturbkit.genes.table import table as table_card

EMBEDDINGS = Catalog(EmbeddingCard, globals(), "embedding")
