"""Standard errors."""


def standard_error(weights):
    """Of each column's log-mean-exp, by the delta method: the relative error of the mean weight."""
    relative = (weights - weights.amax(0)).exp()
    return relative.std(0) / relative.mean(0) / len(weights) ** 0.5
