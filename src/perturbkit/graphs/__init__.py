"""Networks of genes: one file per source, every one read into a Graph."""

from perturbkit.core.catalog import Catalog
from perturbkit.graphs.biogrid import card as biogrid
from perturbkit.graphs.card import GraphCard as GraphCard
from perturbkit.graphs.coexpression import coexpression as coexpression_card
from perturbkit.graphs.coexpression import perturbation_similarity
from perturbkit.graphs.collectri import card as collectri
from perturbkit.graphs.dorothea import card as dorothea
from perturbkit.graphs.edge_list import edge_list as edge_list_card
from perturbkit.graphs.edge_list import graphml, sif
from perturbkit.graphs.gmt import card as gmt
from perturbkit.graphs.go import card as go
from perturbkit.graphs.humap import card as humap
from perturbkit.graphs.nearest import card as embedding
from perturbkit.graphs.reactome import card as reactome
from perturbkit.graphs.string import card as string
from perturbkit.graphs.trrust import card as trrust
from perturbkit.graphs.yeastract import card as yeastract

GRAPHS = Catalog(GraphCard, globals(), "network")
