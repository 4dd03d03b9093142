"""A stand-in for the recording of a CUDA graph."""

from pyro_vaes.training.cuda_graph_step import WARM_UP


def again(work, device):
    """In place of a recording, the work itself."""
    for _ in range(WARM_UP):
        work()
    result = work()

    def replay():
        for one, other in zip(result, work(), strict=True):
            one.copy_(other)

    return replay, result
