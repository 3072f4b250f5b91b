"""The models of the catalogue."""

from perturbkit.core.catalog import Catalog
from perturbkit.models.additive import card as additive
from perturbkit.models.bilinear_ridge import card as bilinear_ridge
from perturbkit.models.card import ModelCard
from perturbkit.models.conditional_vae import card as conditional_vae
from perturbkit.models.context_mean import card as context_mean
from perturbkit.models.cpa_vae import card as cpa_vae
from perturbkit.models.cross_context_ridge import card as cross_context_ridge
from perturbkit.models.cross_context_stack import card as cross_context_stack
from perturbkit.models.gpo_vae.model import card as gpo_vae
from perturbkit.models.kernel_ridge import card as kernel_ridge
from perturbkit.models.knn import card as knn
from perturbkit.models.lpm import card as lpm
from perturbkit.models.matching_mean import card as matching_mean
from perturbkit.models.mean_delta import card as mean_delta
from perturbkit.models.no_change import card as no_change
from perturbkit.models.relative_effects import card as relative_effects
from perturbkit.models.sams_vae import card as sams_vae
from perturbkit.models.shifted_controls import card as shifted_controls
from perturbkit.models.state_transition import card as state_transition
from perturbkit.models.svae_plus import card as svae_plus

MODELS = Catalog(ModelCard, globals())
