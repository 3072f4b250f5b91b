"""HyperPerturb: one screen, one network, signed effects, a policy for what to perturb next."""

from perturbkit.design.hyperperturb.trainer import HyperPerturbConfig as HyperPerturbConfig
from perturbkit.design.hyperperturb.trainer import HyperPerturbTrainer as HyperPerturbTrainer
