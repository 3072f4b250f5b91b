"""The models of the catalogue."""

from perturbkit.core.catalog import Catalog
from perturbkit.models.card import ModelCard
from perturbkit.models.context_mean import card as context_mean
from perturbkit.models.cross_context_ridge import card as cross_context_ridge
from perturbkit.models.mean_delta import card as mean_delta
from perturbkit.models.no_change import card as no_change

MODELS = Catalog(ModelCard, globals())
