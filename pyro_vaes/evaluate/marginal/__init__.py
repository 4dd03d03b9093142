"""The marginal log-likelihood of a model, whatever the guide.

One file per idea, in the order of the estimate: :mod:`target` is log p(x, z) over one vector of latents, with
:mod:`traced` for any Pyro model and :mod:`curvature` behind both; :mod:`climb` finds modes and :mod:`modes` keeps the
distinct ones; :mod:`student` is the proposal, :mod:`guide` the density that may join it, :mod:`draws` what comes of
both; :mod:`weights` judges importance weights, :mod:`adapt` improves the proposal until they are good, :mod:`bridge`
anneals where they stay bad; :mod:`chunks` keeps what is finished; :mod:`estimate` puts it all together.
"""
