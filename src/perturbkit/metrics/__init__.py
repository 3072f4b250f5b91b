"""Every way to say how good a prediction is; a metric is one file that ends in its card."""

from perturbkit.core.catalog import Catalog
from perturbkit.metrics.card import MetricCard
from perturbkit.metrics.discrimination import cosine as discrimination_cosine
from perturbkit.metrics.discrimination import l1 as discrimination_l1
from perturbkit.metrics.discrimination import l2 as discrimination_l2
from perturbkit.metrics.mae import card as mae
from perturbkit.metrics.pearson import card as pearson
from perturbkit.metrics.pearson_centroid import card as pearson_centroid
from perturbkit.metrics.pearson_delta import card as pearson_delta
from perturbkit.metrics.r2 import card as r2
from perturbkit.metrics.rmse import card as rmse
from perturbkit.metrics.top_k_overlap import top_20 as top_20_overlap
from perturbkit.metrics.top_k_overlap import top_50 as top_50_overlap
from perturbkit.metrics.top_k_overlap import top_100 as top_100_overlap

METRICS = Catalog(MetricCard, globals())
