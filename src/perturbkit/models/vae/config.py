"""What every variational autoencoder of cells can be told."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.models.vae.effects import Role


class VaeConfig(Config):
    """Settings shared by the family; each member adds those of its effect."""

    role: ClassVar[Role] = "added"
    encoder_sees_effect: ClassVar[bool] = True
    """whether q(z | x) is told the effect of the cell's perturbation"""

    latent_dim: int = Field(default=32, ge=1)
    """width of a cell's latent state"""
    hidden_dim: int = Field(default=128, ge=1)
    """width of the hidden layers"""
    encoder_dim: int = Field(default=0, ge=0)
    """width of the encoder's hidden layers where it differs; 0: `hidden_dim`"""
    n_layers: int = Field(default=1, ge=1, le=8)
    """hidden layers of the encoder and of the decoder"""
    decoder_layers: int = Field(default=0, ge=0, le=8)
    """hidden layers of the decoder where they differ; 0: `n_layers`"""
    likelihood: Literal["auto", "negative_binomial", "poisson", "gaussian"] = "auto"
    """`auto`: negative binomial for counts, normal for anything else"""
    n_particles: int = Field(default=1, ge=1)
    """draws of every latent variable for each cell in a step"""
    objective: Literal["elbo", "iwelbo"] = "elbo"
    """`iwelbo`: the cell's own latent variables are importance weighted over the particles"""
    kl_weight: float = Field(default=1.0, ge=0)
    """weight of the divergences from the priors"""
    perturbations: Literal["auto", "one_hot", "encoder"] = "auto"
    """free numbers for each target, or a linear map of the perturbation encoder's vector, which
    also answers for targets with features alone; `auto`: the encoder where there are features"""
    embedding_dim: int = Field(default=32, ge=1)
    """width of the perturbation encoder's vectors"""
    identity_dropout: float = Field(default=0.3, ge=0, lt=1)
    """share of targets whose identity the encoder hides in a step, where it has features"""
    artefact: Literal["none", "quality"] = "none"
    """`quality`: cells that failed quality control carry a shared artefact (CRADLE-VAE)"""
    artefact_threshold: float = Field(default=3.0, gt=0)
    """median absolute deviations below the median total at which a cell has failed"""
    counterfactual_weight: float = Field(default=0.1, ge=0)
    """weight of the divergence between a cell without its artefact and cells that had none"""
    residual: bool = True
    """whether predictions of seen conditions take what their cells say beside the decoder"""
    n_draws: int = Field(default=64, ge=1)
    """draws of the latent state that predictions average over"""

    def effect(self, sizes: Any, generator: Any) -> Any:
        """Return the module of the perturbations' effects."""
        raise NotImplementedError
