"""Every score of predicted cells; a metric is one file that ends in its cards."""

from perturbkit.core.catalog import Catalog
from perturbkit.metrics.cells.agreement import de_direction_match as de_direction_match
from perturbkit.metrics.cells.agreement import de_nsig_counts_pred as de_nsig_counts_pred
from perturbkit.metrics.cells.agreement import de_nsig_counts_real as de_nsig_counts_real
from perturbkit.metrics.cells.agreement import de_sig_genes_recall as de_sig_genes_recall
from perturbkit.metrics.cells.agreement import de_spearman_lfc_sig as de_spearman_lfc_sig
from perturbkit.metrics.cells.agreement import de_spearman_sig as de_spearman_sig
from perturbkit.metrics.cells.auc import pr_auc as pr_auc
from perturbkit.metrics.cells.auc import roc_auc as roc_auc
from perturbkit.metrics.cells.bulk import mae as mae
from perturbkit.metrics.cells.bulk import mae_delta as mae_delta
from perturbkit.metrics.cells.bulk import mse as mse
from perturbkit.metrics.cells.bulk import mse_delta as mse_delta
from perturbkit.metrics.cells.bulk import pearson_delta as pearson_delta
from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.clouds import energy_distance as energy_distance
from perturbkit.metrics.cells.clouds import mmd_rbf as mmd_rbf
from perturbkit.metrics.cells.clouds import wasserstein_genes as wasserstein_genes
from perturbkit.metrics.cells.clouds import wasserstein_sliced as wasserstein_sliced
from perturbkit.metrics.cells.clustering import clustering_agreement as clustering_agreement
from perturbkit.metrics.cells.discrimination import cosine as discrimination_score_cosine
from perturbkit.metrics.cells.discrimination import l1 as discrimination_score_l1
from perturbkit.metrics.cells.discrimination import l2 as discrimination_score_l2
from perturbkit.metrics.cells.edistance import pearson_edistance as pearson_edistance
from perturbkit.metrics.cells.in_training import (
    gene_overlap_cross_pert as gene_overlap_cross_pert,
)
from perturbkit.metrics.cells.in_training import (
    pearson_delta_all_cells as pearson_delta_all_cells,
)
from perturbkit.metrics.cells.in_training import (
    perturbation_ranking_score as perturbation_ranking_score,
)
from perturbkit.metrics.cells.overlap import overlap_at_50 as overlap_at_50
from perturbkit.metrics.cells.overlap import overlap_at_100 as overlap_at_100
from perturbkit.metrics.cells.overlap import overlap_at_200 as overlap_at_200
from perturbkit.metrics.cells.overlap import overlap_at_500 as overlap_at_500
from perturbkit.metrics.cells.overlap import overlap_at_n as overlap_at_n
from perturbkit.metrics.cells.overlap import precision_at_50 as precision_at_50
from perturbkit.metrics.cells.overlap import precision_at_100 as precision_at_100
from perturbkit.metrics.cells.overlap import precision_at_200 as precision_at_200
from perturbkit.metrics.cells.overlap import precision_at_500 as precision_at_500
from perturbkit.metrics.cells.overlap import precision_at_n as precision_at_n
from perturbkit.metrics.cells.perturbench import cosine_logp as cosine_logp
from perturbkit.metrics.cells.perturbench import cosine_scores as cosine_scores
from perturbkit.metrics.cells.perturbench import cosine_var as cosine_var
from perturbkit.metrics.cells.perturbench import pearson_logp as pearson_logp
from perturbkit.metrics.cells.perturbench import pearson_scores as pearson_scores
from perturbkit.metrics.cells.perturbench import pearson_var as pearson_var
from perturbkit.metrics.cells.perturbench import rmse_logp as rmse_logp
from perturbkit.metrics.cells.perturbench import rmse_scores as rmse_scores
from perturbkit.metrics.cells.perturbench import rmse_var as rmse_var
from perturbkit.metrics.cells.vcc2026 import vcc26_direction_fidelity as direction_fidelity_yield
from perturbkit.metrics.cells.vcc2026 import vcc26_direction_reach as direction_reach
from perturbkit.metrics.cells.vcc2026 import vcc26_expr_mse as expr_mse_norm
from perturbkit.metrics.cells.vcc2026 import vcc26_lfc_nmae as lfc_nmae
from perturbkit.metrics.cells.vcc2026 import vcc26_pds_cosine as pds_cosine
from perturbkit.metrics.cells.vcc2026 import vcc26_sig_jaccard as sig_jaccard

CELL_METRICS = Catalog(CellsCard, globals(), "metric of cells")
