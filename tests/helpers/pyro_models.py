"""Pyro models that estimates of log p(x) refuse, and those that differ from them in little."""

import pyro
import pyro.distributions as dist


def model_of(latent, observe=True):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", latent)
            if observe:
                pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape, 2]).to_event(1), obs=x)

    return model


def outside(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape[:-1], len(x), 2]).to_event(1), obs=x)
