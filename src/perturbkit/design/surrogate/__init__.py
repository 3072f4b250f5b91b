"""Surrogates: quick models of the objective over the whole pool. One file each."""

from perturbkit.core.catalog import Catalog
from perturbkit.design.surrogate.bayes_ridge import card as bayes_ridge
from perturbkit.design.surrogate.botorch_gp import card as botorch_gp
from perturbkit.design.surrogate.card import SurrogateCard as SurrogateCard
from perturbkit.design.surrogate.committee import card as committee
from perturbkit.design.surrogate.deep_kernel import card as deep_kernel
from perturbkit.design.surrogate.gp import card as gp
from perturbkit.design.surrogate.graph_kernels import card as graph_kernels
from perturbkit.design.surrogate.lpm_ensemble import card as lpm_ensemble
from perturbkit.design.surrogate.prior import card as prior
from perturbkit.design.surrogate.trees import card as trees

SURROGATES = Catalog(SurrogateCard, globals())
