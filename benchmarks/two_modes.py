"""A posterior with two modes, p(x | z) = N(z², 0.3²): gap to log p(x) of mean-field and mixtures, by quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

import pyro_vaes as pv
from benchmarks.timing import RESULTS
from pyro_vaes.guides import BoostedMixture, MeanField, Mixture, RecursiveMixture

Build = Callable[[pv.VAE, nn.Module], pv.Guide]
GUIDES: dict[str, Build] = {
    "MeanField": MeanField,
    "Mixture(2)": lambda *pair: Mixture(*pair, components=2),
    "RecursiveMixture(2, bound=30)": lambda *pair: RecursiveMixture(*pair, components=2, bound=30.0),
    "RecursiveMixture(2), default bound": lambda *pair: RecursiveMixture(*pair, components=2),
    "BoostedMixture(2)": lambda *pair: BoostedMixture(*pair, components=2),
}


class Square(nn.Module):
    """Decoder z², whose posterior has two modes."""

    def forward(self, z: Tensor) -> Tensor:
        """The mean of x, shape of z."""
        return z.square()


def trained(build: Build, seed: int = 0, steps: int = 1500) -> tuple[float, pv.Guide, Tensor]:
    """Mean gap log p(x) - ELBO of a trained guide, the guide, and the data; all start from the same weights."""
    torch.manual_seed(seed)
    vae = pv.VAE(Square(), pv.priors.StandardNormal(1), pv.likelihoods.Gaussian(scale=0.3, learn=False))
    encoder = nn.Sequential(nn.Linear(1, 32), nn.Tanh())
    encoder.out_features = 32
    guide = build(vae, encoder)
    x = torch.linspace(0.8, 2.5, 16).unsqueeze(-1)
    loss = pv.losses.default_loss(guide)
    optimizer = torch.optim.Adam(guide.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss.differentiable_loss(vae, guide, x.repeat(4, 1)).backward()
        optimizer.step()
    return gap(vae, guide, x), guide, x


@torch.no_grad()
def gap(vae: pv.VAE, guide: pv.Guide, x: Tensor, side: float = 5.0, points: int = 4001) -> float:
    """Mean of log p(x) - ELBO over the data, both by a sum over a grid of z."""
    z = torch.linspace(-side, side, points).reshape(-1, 1, 1)
    width = 2 * side / (points - 1)
    log_p = vae.log_joint(x, z)
    log_q = guide.posterior(x).log_prob(z.expand(-1, len(x), -1))
    elbo = (log_q.exp() * (log_p - log_q)).sum(0) * width
    return (log_p.logsumexp(0) + math.log(width) - elbo).mean().item()


def main() -> None:
    """Print and save the table."""
    rows = [(name, [trained(build, seed)[0] for seed in range(3)]) for name, build in GUIDES.items()]
    lines = [f"# {(__doc__ or '').strip()}", "", "| guide | gap, nats (seeds 0, 1, 2) | of mean-field's |"]
    lines.append("| --- | ---: | ---: |")
    baseline = sum(rows[0][1])
    for name, gaps in rows:
        lines.append(f"| {name} | {', '.join(f'{each:.3f}' for each in gaps)} | {sum(gaps) / baseline:.0%} |")
    table = "\n".join([*lines, "", f"torch {torch.__version__}; run again: `python -m benchmarks.two_modes`", ""])
    (RESULTS / "two_modes.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
