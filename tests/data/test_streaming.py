"""Pixels that stay in a Dataset, and batches that are sent one ahead."""

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import pyro_vaes as pv
from pyro_vaes.data.streaming import StreamedPixels, batches
from pyro_vaes.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture
def images():
    return torch.randint(256, (11, 1, 6, 6), dtype=torch.uint8)


def test_streamed_pixels_are_those_of_the_tensor(images):
    pixels = StreamedPixels(TensorDataset(images, torch.arange(11)))
    assert pixels.shape == images.shape
    assert torch.equal(pixels[:3], images[:3])
    assert torch.equal(pixels[torch.tensor([4, 4, 0])], images[[4, 4, 0]])


def test_held_images_whose_layout_is_open(images):
    held, streamed = torch.zeros(5, 3, 4, 3), TensorDataset(torch.zeros(9, 3, 3, 4))
    with pytest.raises(InputError, match=r'x_train has shape .* say channels="first" or channels="last"'):
        pv.data.Data.from_dataset(streamed, x_valid=held, x_test=held)
    assert pv.data.Data.from_dataset(streamed, x_valid=held, x_test=held, channels="last").event_shape == (3, 3, 4)


@pytest.mark.parametrize("streamed", [False, True])
def test_batches_are_in_order_and_complete(images, streamed):
    order = torch.randperm(11)
    found = list(batches(StreamedPixels(TensorDataset(images)) if streamed else images, order.split(4), CPU))
    assert [len(batch) for batch in found] == [4, 4, 3]
    assert torch.equal(torch.cat(found), images[order])


def test_batches_for_another_device_are_sent_there(images):
    found = list(batches(images, torch.arange(11).split(4), torch.device("meta")))
    assert [(each.shape[0], each.device.type) for each in found] == [(4, "meta"), (4, "meta"), (3, "meta")]


def test_the_next_batch_is_read_while_the_last_one_is_used(images):
    class Noted(Dataset):
        read = 0

        def __len__(self):
            return 11

        def __getitem__(self, place):
            self.read += 1
            return images[place]

    dataset = Noted()
    pixels = StreamedPixels(dataset)
    coming = batches(pixels, torch.arange(11).split(4), torch.device("meta"))
    before = dataset.read
    next(coming)
    assert dataset.read - before == 8


def test_training_from_a_dataset_is_that_from_its_tensor(images):
    options = {"x_valid": images[:3], "x_test": images[:3]}
    weights = []
    for data in (
        pv.data.Data.from_arrays(x_train=images, **options),
        pv.data.Data.from_dataset(TensorDataset(images), **options),
    ):
        torch.manual_seed(0)
        vae = pv.VAE(pv.networks.MLPDecoder(2, (1, 6, 6), (8,)), pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
        guide = pv.guides.MeanField(vae, pv.networks.MLPEncoder((1, 6, 6), (8,)))
        pv.fit(vae, guide, data, epochs=2, batch_size=4, device="cpu", progress=False)
        weights.append(torch.cat([weight.flatten() for weight in vae.parameters()]))
    assert torch.equal(*weights)


def test_a_dataset_says_where_its_data_are(images):
    data = pv.data.Data.from_dataset(TensorDataset(images), x_valid=images[:3], x_test=images[:2], binarize="dynamic")
    assert data.event_shape == (1, 6, 6)
    assert data.description.startswith("TensorDataset: 11 train (read as needed), 3 valid, 2 test, 1x6x6; dynamically")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (TensorDataset(torch.zeros(3, 1, 7, 7, dtype=torch.uint8)), "images of the Dataset are 1x7x7 .* 1x6x6"),
        (TensorDataset(torch.zeros(3, 1, 6, 6)), "pixels of the Dataset are float32 and .* uint8"),
        (TensorDataset(torch.zeros(0, 1, 6, 6)), "cannot be read as images"),
        (["a", "b"], "cannot be read as images"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(images, dataset, message):
    with pytest.raises(InputError, match=message):
        pv.data.Data.from_dataset(dataset, x_valid=images, x_test=images)


def test_static_binarisation_of_a_dataset_is_refused(images):
    with pytest.raises(InputError, match="static"):
        pv.data.Data.from_dataset(TensorDataset(images), x_valid=images, x_test=images, binarize="static")
