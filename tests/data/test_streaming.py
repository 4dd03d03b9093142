"""Pixels that stay in a Dataset, and batches that are sent one ahead."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array
from torch.utils.data import Dataset, TensorDataset

import pyro_vaes as pv
from pyro_vaes.data.streaming import StreamedPixels, batches
from pyro_vaes.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on one processor
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
        (
            [np.ma.masked_less(np.arange(36.0).reshape(1, 6, 6), 9)],
            "images .an item masks 9 of its 36 values",
        ),
        ([csr_array(np.eye(6))], r"cannot be read as images .an item is a sparse array: give an item.toarray\(\)"),
        ([torch.eye(6).to_sparse()], "cannot be read as images .an item is a sparse tensor"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(images, dataset, message):
    with pytest.raises(InputError, match=message):
        pv.data.Data.from_dataset(dataset, x_valid=images, x_test=images)


def test_static_binarisation_of_a_dataset_is_refused(images):
    with pytest.raises(InputError, match="static"):
        pv.data.Data.from_dataset(TensorDataset(images), x_valid=images, x_test=images, binarize="static")


class Listed(Dataset):
    """Items of any kind."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def scaled(low, high, n=20):
    return low + (high - low) * torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def changed(x, index, value):
    x = x.clone()
    x[index].flatten()[7] = value
    return x


WRONG = {
    "normalized": (changed(scaled(0, 1), 3, -0.5), "item 3 of the Listed holds -0.5: float pixels .* in .0, 1., like"),
    "not divided": (changed(scaled(0, 1), 5, 200), "item 5 of the Listed holds 200: float"),
    "NaN": (changed(scaled(0, 1), 11, torch.nan), "item 11 of the Listed holds nan: float pixels must be finite"),
    "infinite": (changed(scaled(0, 1), 0, torch.inf), "item 0 of the Listed holds inf"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("late", [False, True], ids=["first look", "later batch"])
def test_items_out_of_range_are_named(monkeypatch, case, late):
    items, words = WRONG[case]
    if late:
        monkeypatch.setattr("pyro_vaes.training.initialization._init_batch", lambda *_: scaled(0, 1))
        monkeypatch.setattr("pyro_vaes.training.trainer.Trainer.prepare", lambda *_: "eager")
    data = pv.data.Data.from_dataset(Listed(items), x_valid=scaled(0, 1), x_test=scaled(0, 1))
    torch.manual_seed(0)
    vae = pv.VAE(pv.networks.MLPDecoder(2, (1, 6, 6), (8,)), pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
    guide = pv.guides.MeanField(vae, pv.networks.MLPEncoder((1, 6, 6), (8,)))
    before = [weight.clone() for weight in guide.parameters()]
    with pytest.raises(InputError, match=words):
        pv.fit(vae, guide, data, epochs=1, batch_size=20, device="cpu", progress=False)
    assert all(map(torch.equal, before, guide.parameters()))


@pytest.mark.parametrize(("top", "fine"), [(16, True), (17, False)])
def test_gray_levels_are_checked(images, top, fine):
    items = changed((images % 17), 4, top).to(torch.uint8)
    pixels = StreamedPixels(Listed(items), num_bins=17)
    if fine:
        assert torch.equal(pixels[:11], items)
    else:
        with pytest.raises(InputError, match=r"item 4 of the Listed holds 17: integer pixels must be in \[0, 16\]"):
            pixels[:11]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (torch.zeros(1, 6, 5), "item 2 of the Listed is 1x6x5 of float32, the first 1x6x6 of float32"),
        (torch.zeros(1, 6, 6, dtype=torch.uint8), "item 2 of the Listed is 1x6x6 of uint8, the first"),
    ],
)
def test_items_unlike_the_first_are_named(item, words):
    with pytest.raises(InputError, match=words):
        StreamedPixels(Listed([torch.zeros(1, 6, 6), torch.ones(1, 6, 6), item]))[torch.tensor([1, 2])]


@pytest.mark.parametrize("kind", ["array", "gray array", "PIL", "gray PIL", "HWC tensor", "tuple of float64"])
def test_kinds_of_images_are_converted(images, kind):
    channels = 1 if "gray" in kind else 3
    x = images.expand(-1, channels, -1, -1).contiguous()
    last = x.movedim(1, -1).numpy()
    items = {
        "array": list(last),
        "gray array": list(last[..., 0]),
        "PIL": [Image.fromarray(each) for each in last if channels == 3],
        "gray PIL": [(Image.fromarray(each[..., 0]), 0) for each in last],
        "HWC tensor": list(torch.from_numpy(last)),
        "tuple of float64": [(each / 255.0, 0) for each in last],
    }[kind]
    expected = x / 255 if "float" in kind else x
    data = pv.data.Data.from_dataset(Listed(items), x_valid=expected, x_test=expected)
    torch.testing.assert_close(data.train.pixels[:11], expected.contiguous())


def test_pixels_of_16_bits_are_streamed(images):
    x = images.to(torch.int32) * 257
    data = pv.data.Data.from_dataset(Listed(list(x.numpy().astype(np.uint16))), x_valid=x, x_test=x, num_bins=2**16)
    assert torch.equal(data.train.pixels[:11], x)
    assert data.description.endswith("dequantized with uniform noise (65536 bins)")


def test_items_that_are_mappings_are_refused(images):
    items = [{"image": image, "label": 0} for image in images]
    words = r"an item is a dict\): .* tensors, or tuples that begin with one, for example \(image, label\)"
    with pytest.raises(InputError, match=words):
        pv.data.Data.from_dataset(Listed(items), x_valid=images, x_test=images)


# --- functions of items, and workers -------------------------------------------------------------------------------


class Counted(Dataset):
    """Items by a function, with the number of times that each was read, which workers count too."""

    def __init__(self, images, make=lambda image: image):
        self.images, self.make = images, make
        self.reads = torch.zeros(len(images), dtype=torch.long).share_memory_()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        self.reads[place] += 1
        return self.make(self.images[place])


ITEMS = {
    "dictionary": (lambda image: {"image": image, "label": 3}, lambda each: each["image"]),
    "pair": (lambda image: {"image": image, "label": 3}, lambda each: (each["image"], each["label"])),
    "label first": (lambda image: (3, image), lambda each: each[1]),
    "PIL": (lambda image: {"image": Image.fromarray(image[0].numpy())}, lambda each: each["image"]),
    "channels last": (lambda image: {"image": image.movedim(0, -1).numpy()}, lambda each: each["image"]),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("make", "item"), ITEMS.values(), ids=ITEMS)
def test_items_of_any_form(images, make, item, workers):
    pixels = StreamedPixels(Counted(images, make), item=item, num_workers=workers)
    order = torch.randperm(11)
    found = list(batches(pixels, order.split(4), CPU))
    assert torch.equal(torch.cat(found), images[order])


@pytest.mark.parametrize("workers", [0, 2])
def test_every_example_is_read_once_per_epoch(images, workers):
    dataset, seen = Counted(images), []
    data = pv.data.Data.from_dataset(dataset, x_valid=images[:3], x_test=images[:3], num_workers=workers)
    vae = pv.VAE(pv.networks.MLPDecoder(2, (1, 6, 6), (8,)), pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
    guide = pv.guides.MeanField(vae, pv.networks.MLPEncoder((1, 6, 6), (8,)))

    class Read(pv.training.Callback):
        def on_epoch_end(self, *_):
            seen.append(dataset.reads.clone())

    pv.fit(vae, guide, data, epochs=3, batch_size=4, device="cpu", progress=False, callbacks=[Read()])
    for before, after in itertools.pairwise(seen):
        assert torch.equal(after - before, torch.ones(11, dtype=torch.long))


def test_training_with_workers_is_that_without(images):
    weights = []
    for workers in (0, 2):
        data = pv.data.Data.from_dataset(
            TensorDataset(images), x_valid=images[:3], x_test=images[:3], num_workers=workers
        )
        torch.manual_seed(0)
        vae = pv.VAE(pv.networks.MLPDecoder(2, (1, 6, 6), (8,)), pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
        guide = pv.guides.MeanField(vae, pv.networks.MLPEncoder((1, 6, 6), (8,)))
        pv.fit(vae, guide, data, epochs=2, batch_size=4, device="cpu", progress=False)
        weights.append(torch.cat([weight.flatten() for weight in vae.parameters()]))
    assert torch.equal(*weights)


def test_an_item_that_a_worker_refuses_is_named(images):
    dataset = Counted(images.float() / 255)
    dataset.images[7, 0, 1, 1] = 3.0
    pixels = StreamedPixels(dataset, num_workers=1)
    with pytest.raises(
        InputError, match=r"^item 7 of the Counted holds 3: float pixels must be finite and in \[0, 1\]"
    ):
        list(batches(pixels, torch.arange(11).split(4), CPU))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_workers": -1}, "num_workers is -1: expected a whole number, 0 or more"),
        ({"num_workers": 1.5}, "num_workers is 1.5"),
        ({"item": lambda each: each["image"]}, r"item 0 of the Counted makes the function item raise \w+Error"),
        ({"item": lambda each: None}, r"the Counted cannot be read as images \(an item is None"),
        ({"item": lambda each: {"image": each}}, r"an item is a dict.*item=lambda each: each"),
    ],
)
def test_items_and_workers_that_are_refused(images, options, words):
    with pytest.raises(InputError, match=words):
        pv.data.Data.from_dataset(Counted(images), x_valid=images, x_test=images, **options)
