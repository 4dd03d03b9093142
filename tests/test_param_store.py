"""Pyro's parameter store, with and without registration."""

import pyro
from pyro.infer import Trace_ELBO

from pyro_vaes.param_store import without_registration
from pyro_vaes.testing import pair


def test_without_registration_leaves_the_store_empty():
    vae, guide, x, _ = pair()
    with without_registration():
        with without_registration():
            guide(x)
        vae(x)
        Trace_ELBO().loss(vae, guide, x)
    assert not list(pyro.get_param_store())
    guide(x)
    assert len(list(pyro.get_param_store())) == len(list(guide.parameters()))
