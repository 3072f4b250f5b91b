"""Network inference and its evaluation."""

from perturbkit.core.catalog import Catalog
from perturbkit.grn.card import GrnCard
from perturbkit.grn.consensus import card as consensus
from perturbkit.grn.correlation import card as correlation
from perturbkit.grn.dcdi import card as dcdi
from perturbkit.grn.direct import card as direct
from perturbkit.grn.fold_change_z import card as fold_change_z
from perturbkit.grn.genie3 import card as genie3
from perturbkit.grn.ges import card as ges
from perturbkit.grn.graphical_lasso import card as graphical_lasso
from perturbkit.grn.grnboost import card as grnboost
from perturbkit.grn.imputed_inverse import card as imputed
from perturbkit.grn.inverse import card as inverse
from perturbkit.grn.knockout_z import card as knockout_z
from perturbkit.grn.lasso import card as lasso
from perturbkit.grn.mean_shift import card as mean_shift
from perturbkit.grn.notears import card as notears
from perturbkit.grn.partial_correlation import card as partial_correlation
from perturbkit.grn.pc import card as pc
from perturbkit.grn.sortnregress import card as sortnregress

GRN_METHODS = Catalog(GrnCard, globals(), "network method")
