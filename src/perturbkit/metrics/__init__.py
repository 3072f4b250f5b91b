"""Every way to say how good a prediction is; a metric is one file that ends in its card."""

from perturbkit.core.catalog import Catalog
from perturbkit.metrics.card import MetricCard
from perturbkit.metrics.centroid_accuracy import card as centroid_accuracy
from perturbkit.metrics.discrimination import cosine as discrimination_cosine
from perturbkit.metrics.discrimination import l1 as discrimination_l1
from perturbkit.metrics.discrimination import l2 as discrimination_l2
from perturbkit.metrics.gears import mse_top20 as mse_top20
from perturbkit.metrics.gears import mse_top20_expressed as mse_top20_expressed
from perturbkit.metrics.gears import opposite_top20 as opposite_top20
from perturbkit.metrics.gears import opposite_top20_expressed as opposite_top20_expressed
from perturbkit.metrics.gears import pearson_delta_top20 as pearson_delta_top20
from perturbkit.metrics.mae import card as mae
from perturbkit.metrics.pearson import card as pearson
from perturbkit.metrics.pearson_centroid import card as pearson_centroid
from perturbkit.metrics.pearson_delta import card as pearson_delta
from perturbkit.metrics.perturbench import cosine as cosine
from perturbkit.metrics.perturbench import cosine_logfc as cosine_logfc
from perturbkit.metrics.perturbench import rank_cosine_logfc as rank_cosine_logfc
from perturbkit.metrics.perturbench import rank_rmse as rank_rmse
from perturbkit.metrics.perturbench import rmse_logfc as rmse_logfc
from perturbkit.metrics.r2 import card as r2
from perturbkit.metrics.rmse import card as rmse
from perturbkit.metrics.top_k_overlap import top_20 as top_20_overlap
from perturbkit.metrics.top_k_overlap import top_50 as top_50_overlap
from perturbkit.metrics.top_k_overlap import top_100 as top_100_overlap
from perturbkit.metrics.top_k_overlap import top_200 as top_200_overlap
from perturbkit.metrics.weighted import weighted_r2_delta as weighted_r2_delta
from perturbkit.metrics.weighted import wmse as wmse

METRICS = Catalog(MetricCard, globals())
