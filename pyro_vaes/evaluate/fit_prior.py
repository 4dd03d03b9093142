"""A prior fitted to the aggregated posterior of a trained model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input, evaluating, seeded
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.priors import Prior
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import check_positive, check_seed, check_whole

CHUNK_DATA = 512
HELD_OUT = 10  # one datum in so many is for validation


@dataclass(frozen=True)
class FittedPrior:
    """A model with a prior that was fitted after its training, and its guide.

    Attributes:
        model: a copy of the model whose prior is the fitted one.
        guide: a copy of the guide, on that model.
        before: mean log p(z) of the old prior on draws of q(z | x) of the data held out, in nats.
        history: the same of the new prior, before its first epoch and after each.
    """

    model: VAE
    guide: Guide
    before: float
    history: Sequence[float]

    @property
    def gain(self) -> float:
        """Rise of mean log p(z), in nats, that of the ELBO under a guide whose posterior does not follow the prior."""
        return max(self.history) - self.before


def fit_prior(
    prior: Prior,
    model: VAE,
    guide: Guide,
    x: Tensor,
    *,
    epochs: int = 200,
    patience: int = 10,
    batch_size: int = 128,
    lr: float = 1e-2,
    num_samples: int = 10,
    seed: int = 0,
    progress: bool = False,
    mask: Tensor | None = None,
) -> FittedPrior:
    """Fit a prior to the aggregated posterior of a trained model, whose decoder and guide stay as they are.

    The prior maximizes E[log p(z)] over draws z ~ q(z | x) of nine tenths of the data, by Adam; it gets the weights of
    the highest mean on draws of the others. With q held, E[log p(z)] is the only term of the ELBO that depends on the
    prior, and it is largest where p(z) is the aggregated posterior Σ_n q(z | x_n) / N.

    Args:
        prior: the new prior, of the model's latent size; it is trained in place.
        model: the trained model.
        guide: its guide. If its posterior follows the prior, as that of ``Laplace``, the fit is to the posteriors under
            the old prior, and it is worthwhile to repeat it.
        x: the training data, ``(N, *event_shape)``, 20 or more.
        epochs: passes through the draws, at most.
        patience: epochs without a rise on the data held out after which the fit ends.
        batch_size: data per gradient step, each with all its draws.
        lr: learning rate.
        num_samples: draws per datum.
        seed: fixes what is held out, the draws and the order of the data; the random state is left as it was.
        progress: whether to show a bar.
        mask: True where x was seen, of its shape; the posteriors are then q(z | x_seen).

    Raises:
        InputError: If the model is no ``VAE``, the guide belongs to another, the prior is of another size, has no
            weights or is made of the guide's posteriors, there are too few data, or an argument is out of range.

    References:
        ELBO surgery: yet another way to carve up the variational evidence lower bound (Hoffman, Johnson, 2016);
        Diagnosing and Enhancing VAE Models (Dai, Wipf, 2019), for a second stage on the aggregated posterior.

    Example:
        >>> import pyro_vaes as pv
        >>> fitted = fit_prior(pv.priors.GaussianMixture(2, components=3), vae, guide, torch.rand(40, 1, 8, 8))
        >>> type(fitted.model.prior).__name__, fitted.gain > 0, fitted.model.sample(3).shape
        ('GaussianMixture', True, torch.Size([3, 1, 8, 8]))
    """
    for name, value in {"epochs": epochs, "patience": patience, "batch_size": batch_size}.items():
        check_whole(name, value)
    check_whole("num_samples", num_samples)
    check_positive("lr", lr, "a positive number, for example lr=0.01")
    check_seed(seed)
    _check_parts(prior, model, guide)
    x = as_input(model, x, mask)
    if len(x) < 2 * HELD_OUT:
        raise InputError(f"x holds {len(x)} observations: give {2 * HELD_OUT} or more, of which a tenth is held out")
    prior.to(reference_weight(model))
    prior.probe()
    with seeded(seed, x.device):
        z = _draws(model, guide, x, num_samples)
        z = z[torch.randperm(len(z)).to(z.device)]
        valid, train = z.split([len(z) // HELD_OUT, len(z) - len(z) // HELD_OUT])
        with torch.no_grad(), evaluating(model, guide):
            before = model.prior().log_prob(valid).mean().item()
        bar = tqdm(range(epochs), desc="prior", disable=not progress)
        optimizer = torch.optim.Adam(prior.parameters(), lr)
        history, best = [_validate(prior, valid)], copy.deepcopy(prior.state_dict())
        for _ in bar:
            prior.train()
            for batch in train[torch.randperm(len(train)).to(z.device)].split(batch_size):
                optimizer.zero_grad()
                (-prior().log_prob(batch).mean()).backward()
                optimizer.step()
            history.append(_validate(prior, valid))
            if history[-1] >= max(history):
                best = copy.deepcopy(prior.state_dict())
            elif len(history) - 1 - history.index(max(history)) >= patience:
                break
    prior.load_state_dict(best)
    fitted, its_guide = copy.deepcopy((model, guide))
    fitted.prior = prior
    return FittedPrior(fitted.eval(), its_guide.eval(), before, history)


def _check_parts(prior: Prior, model: VAE, guide: Guide) -> None:
    if not (isinstance(model, VAE) and isinstance(guide, Guide)):
        raise InputError(
            f"model and guide are {type(model).__name__} and {type(guide).__name__}: expected a VAE, which has one "
            "latent and one prior, and its guide"
        )
    if guide.vae is not model:
        raise InputError("the guide belongs to another model: give the model that it was built on, guide.vae")
    name = type(prior).__name__
    if not isinstance(prior, Prior):
        raise InputError(
            f"prior is a {name}: give one of pyro_vaes.priors, such as GaussianMixture({model.latent_dim})"
        )
    if prior.latent_dim != model.latent_dim:
        raise InputError(
            f"the prior {name} has {prior.latent_dim} latent dimensions, the model {model.latent_dim}: give one of "
            f"latent_dim={model.latent_dim}"
        )
    if type(prior).bind_posterior is not Prior.bind_posterior:
        raise InputError(f"the prior {name} is made of the guide's posteriors: train it with its model, by fit")
    if not any(p.requires_grad for p in prior.parameters()):
        raise InputError(f"the prior {name} has no weights to fit: give another, such as GaussianMixture")


@torch.no_grad()
def _draws(model: VAE, guide: Guide, x: Tensor, num_samples: int) -> Tensor:
    """Draws from q(z | x), ``(N, S, Z)``."""
    with evaluating(model, guide, x=x):
        parts = [guide.posteriors(batch)["z"].sample((num_samples,)) for batch in x.split(CHUNK_DATA)]
    return torch.cat(parts, 1).transpose(0, 1)


@torch.no_grad()
def _validate(prior: Prior, z: Tensor) -> float:
    prior.eval()
    return prior().log_prob(z).mean().item()
