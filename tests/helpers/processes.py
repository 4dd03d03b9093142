"""Work done by several processes, as torchrun would start them."""

import multiprocessing
import os
import pickle
import socket

import torch

from pyro_vaes.losses import ELBO
from pyro_vaes.training.signals import on_termination
from tests.helpers.training import BINARY, at_step, build, timeless, train, weights

SIZE, DEADLINE = 2, 300
BATCH, STEPS = 17, 6  # 86 = 5 * 17 + 1: of an epoch's last batch only one process has a part


def run_and_report(work, rank, port, folder, telling):
    """Run a piece of work as torchrun would, and send what it returned or raised."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(SIZE), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    try:
        result = work(rank, folder)
    except Exception as error:
        result = error
    telling.send_bytes(pickle.dumps(result))  # a pipe would take tensors for shared memory that ends with the process


def run_in_processes(folder, work):
    """What a function of rank and folder gives in each of two processes, None where it was killed."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch._dynamo", "sklearn.datasets", "pyro_vaes.recipes", __name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results, started = [], []
    for rank in range(SIZE):
        listening, telling = processes.Pipe(duplex=False)
        started.append((processes.Process(target=run_and_report, args=(work, rank, port, folder, telling)), listening))
        started[-1][0].start()
        telling.close()
    for process, listening in started:
        try:
            assert listening.poll(DEADLINE), "the processes wait for each other"
            results.append(pickle.loads(listening.recv_bytes()))
        except EOFError:
            results.append(None)
        finally:
            process.join(5)
            process.kill()
    return results


def train_with_event(event, at, epochs, rank, folder, resume=False):
    """A training at one step of which something happens to the second process."""
    pair = build()
    loss = at_step(at, ELBO(), event) if rank and event else ELBO()
    with on_termination(lambda *_: None):
        run = train(pair, BINARY, loss=loss, batch_size=BATCH, epochs=epochs, out=folder / "run", resume=resume)
    return run.interrupted, loss.num_steps, timeless(run.history), weights(pair)
