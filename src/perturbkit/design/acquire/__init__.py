"""Acquisition functions: which conditions next. One file each."""

from perturbkit.core.catalog import Catalog
from perturbkit.design.acquire._random import card as random
from perturbkit.design.acquire.badge import card as badge
from perturbkit.design.acquire.bald import card as bald
from perturbkit.design.acquire.batch_bald import card as batch_bald
from perturbkit.design.acquire.card import AcquisitionCard as AcquisitionCard
from perturbkit.design.acquire.card import History as History
from perturbkit.design.acquire.core_set import card as core_set
from perturbkit.design.acquire.coverage import card as coverage
from perturbkit.design.acquire.degree import card as degree
from perturbkit.design.acquire.essentials import card as essentials
from perturbkit.design.acquire.expected_improvement import card as expected_improvement
from perturbkit.design.acquire.greedy import card as greedy
from perturbkit.design.acquire.k_means import card as k_means
from perturbkit.design.acquire.lcmd import card as lcmd
from perturbkit.design.acquire.linear_bandit import card as linear_bandit
from perturbkit.design.acquire.mixture import card as mixture
from perturbkit.design.acquire.page_rank import card as page_rank
from perturbkit.design.acquire.prior_kernels import card as prior_kernels
from perturbkit.design.acquire.probability_of_hit import card as probability_of_hit
from perturbkit.design.acquire.thompson import card as thompson
from perturbkit.design.acquire.typiclust import card as typiclust
from perturbkit.design.acquire.ucb import card as ucb
from perturbkit.design.acquire.uncertainty import card as uncertainty

ACQUISITIONS = Catalog(AcquisitionCard, globals(), "acquisition function")
