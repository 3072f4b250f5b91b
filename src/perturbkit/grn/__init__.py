"""Network inference and its evaluation."""

from perturbkit.core.catalog import Catalog
from perturbkit.grn.card import GrnCard
from perturbkit.grn.direct import card as direct
from perturbkit.grn.fold_change_z import card as fold_change_z
from perturbkit.grn.knockout_z import card as knockout_z
from perturbkit.grn.mean_shift import card as mean_shift

GRN_METHODS = Catalog(GrnCard, globals(), "network method")
