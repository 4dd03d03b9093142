"""The settings of a system and its training, as recipes, the command line, ``config.yaml`` and ``fit`` know them.

Importing this loads nothing heavy.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_vaes.errors import InputError, near, shown, unknown

LISTS = ("hidden", "latent_dim")  # settings that are lists of whole numbers
PARTS = ("guide", "likelihood", "prior", "loss")  # settings that name classes
PARTS_OF_MODEL = ("likelihood", "prior")


@dataclass(frozen=True)
class Settings:
    """Data, parts and training of a system; the defaults are small ones, for 2 cores.

    Attributes:
        data: name of a data set, or an .npz, .npy, .csv, .parquet or .h5ad file.
        data_root: folder of the data in torchvision's layout; of binarized-mnist and caltech-101-silhouettes their
            file, or its folder.
        kind: pixels, binary, counts or values, the kind of the data; by default as the likelihood needs it.
        num_bins: number of gray levels of a file's integer pixels, 65536 for 16-bit images; 256 by default.
        binarize: dynamic, static or threshold, of pixels; by default as the likelihood needs it.
        center: whether the per-pixel mean of the training images is subtracted from gray values and colors.
        logit: whether the logit of gray values and colors is taken; densities are then those in logit space.
        channels: first or last, the place of the channels in a file's images whose shape leaves it open.
        train_size: number of training images, from the first; all by default.
        labels: number of training images whose labels a model with clusters is given, as many of each class, drawn by
            the seed; those of a ladder are of its highest latent; none by default.
        guide: name of the guide, with options if any, such as laplace(updates=1), or module:Class of your own; by
            default the recipe's. Of several, comma-separated, train takes the one of the best validation ELBO.
        likelihood: of pixels gaussian, discretized-logistic, categorical, pixelcnn, residual-pixelcnn, skip-pixelcnn
            or pixelcnnpp; of binary data bernoulli; of counts poisson, negative-binomial or zero-inflated; of values
            gaussian, student-t, heteroscedastic-gaussian or standardized; with options if any, such as
            gaussian(scale=0.25), or module:Class.
        prior: standard-normal, gaussian-mixture, vamp-prior, autoregressive-flow, convolutional-flow or
            hierarchical-prior, with options if any, such as gaussian-mixture(components=5), or module:Class; of a
            ladder one for all latents, or one per latent, comma-separated, the lowest first.
        loss: elbo, iwae, free-bits or another of pyro_vaes.losses, with options if any, such as free-bits(total=4),
            or module:Class; by default the guide's.
        network: kind of the networks, mlp, conv, resnet or densenet, with options if any; mlp-kaiming-head is mlp with
            the guide's linear head initialized like the other layers, resnet-linear has a decoder of one linear layer,
            densenet keeps the latent as maps.
        batch_norm: whether batch normalization stands before every nonlinearity of the networks.
        denoise: whether the encoder sees images with salt, pepper and normal noise in training; of pixels in [0, 1].
        latent_dim: size Z of the latent; of a hierarchy of each latent, the lowest first, such as 2,2,2.
        condition_dim: number of classes of the labels y that a conditional model is given, or size of the vectors.
        hidden: hidden layers of the encoder and, reversed, of the decoder, such as 256,256: units of fully connected
            layers, channels of convolutions; of a ladder one per latent.
        weight_norm: whether all linear and convolutional layers are weight-normalized, with data-dependent
            initialization.
        warmup: time constant of the KL weight's rise, in gradient steps; 0 for none.
        cluster_epoch: epoch after which mixture priors are set to the clusters of the codes; 0 for never.
        start_epochs: epochs of a mean-field training, from whose weights model and guide start; 0 for none.
        epochs: passes through the training data, at most.
        patience: epochs without a rise of the validation ELBO after which the training ends; none by default. Those up
            to cluster_epoch, and of the guide's warm-up, do not count.
        batch_size: images per gradient step.
        lr: learning rate.
        schedule: schedule of the learning rate, constant, cosine or plateau, with options if any, such as
            cosine(warmup=500) or plateau(factor=0.5,patience=5); none by default.
        optimizer: optimizer of torch.optim, adam, adamw, adamax, sgd, rmsprop or another, with options if any, such as
            adamw(weight_decay=0.01).
        clip_norm: largest norm of the gradients of all weights together; no clipping by default.
        ema: decay of the exponential moving average of the weights, such as 0.998; none by default.
        seed: seed of initial weights, data order and noise.
        device: auto, cpu, cuda or another torch device.
        step: how a gradient step is run: eager, compiled, graph (a CUDA graph), or auto.
        precision: float32, or bfloat16 for the layers of networks.

    Example:
        >>> Settings(latent_dim=2).size, Settings(latent_dim=(2, 3)).latent_dims
        (2, (2, 3))
    """

    data: str = "digits"
    data_root: str | None = None
    kind: str | None = None
    num_bins: int | None = None
    binarize: str | None = None
    center: bool = False
    logit: bool = False
    channels: str | None = None
    train_size: int | None = None
    labels: int | None = None
    guide: str | None = None
    likelihood: str = "gaussian"
    prior: str = "standard-normal"
    loss: str | None = None
    network: str = "mlp"
    batch_norm: bool = False
    denoise: bool = False
    latent_dim: int | Sequence[int] = 16
    condition_dim: int | None = None
    hidden: Sequence[int] = (256, 256)
    weight_norm: bool = False
    warmup: int = 0
    cluster_epoch: int = 0
    start_epochs: int = 0
    epochs: int = 20
    patience: int | None = None
    batch_size: int = 128
    lr: float = 1e-3
    schedule: str | None = None
    optimizer: str = "adam"
    clip_norm: float | None = None
    ema: float | None = None
    seed: int = 0
    device: str = "auto"
    step: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if hasattr(value := getattr(self, field.name), "item"):  # a NumPy number, which no file can hold
                object.__setattr__(self, field.name, value.item())

    @property
    def latent_dims(self) -> tuple[int, ...]:
        """Size of each latent, the lowest first."""
        return tuple(self.latent_dim) if isinstance(self.latent_dim, Sequence) else (self.latent_dim,)

    @property
    def size(self) -> int:
        """Size of the only latent.

        Raises:
            InputError: If several are asked for.
        """
        if len(self.latent_dims) > 1:
            raise InputError(f"latent_dim is {self.latent_dims}, but this model has one latent: give one size")
        return self.latent_dims[0]

    @property
    def training(self) -> dict[str, Any]:
        """The arguments of ``fit`` that are settings."""
        optimization = ("lr", "schedule", "optimizer", "clip_norm", "ema")
        names = ("epochs", "patience", "batch_size", *optimization, "cluster_epoch", "seed", "device", "step")
        return {name: getattr(self, name) for name in (*names, "precision")}

    def updated(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with changes as the command line gives them: lists as text, None for no change.

        Raises:
            InputError: If a setting does not exist, or a list is not one of whole numbers.

        Example:
            >>> Settings().updated({"hidden": "16,8", "latent_dim": "2", "lr": None}).hidden
            (16, 8)
        """
        check_names(changes)
        given = {name: value for name, value in changes.items() if value is not None}
        for name in LISTS:
            if isinstance(value := given.get(name), (str, int)):
                given[name] = integers(name, str(value))
        if len(sizes := given.get("latent_dim", ())) == 1:
            given["latent_dim"] = sizes[0]
        return dataclasses.replace(self, **given)

    def config(self) -> dict[str, Any]:
        """The content of ``config.yaml``, from which the run can be repeated from any folder."""
        given = dataclasses.asdict(self)
        for name in LISTS:
            if not isinstance(given[name], int):
                given[name] = ",".join(map(str, given[name]))
        for name in ("data", "data_root"):
            if given[name] is not None and Path(given[name]).exists():
                given[name] = str(Path(given[name]).resolve())
        return {name: value for name, value in given.items() if value is not None}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """The settings of a ``config.yaml``; what else it says is left to others.

        Raises:
            InputError: If a value has another type, or a name is nearly that of a setting.

        Example:
            >>> Settings.from_config({"recipe": "vae", "lr": 1}).lr
            1
            >>> Settings.from_config({"lr": "fast"})
            Traceback (most recent call last):
                ...
            pyro_vaes.errors.InputError: config.yaml: lr is 'fast': expected float
        """
        types = typing.get_type_hints(cls)
        for name in config.keys() - types.keys():
            if hint := near(name, types.keys() - config.keys(), cutoff=0.8):
                raise InputError(f"config.yaml: {shown(name)} is no setting:{hint}")
        return cls().updated({name: typed(config, name, types[name]) for name in types if name in config})


def check_names(names: Iterable[str]) -> None:
    """Check that settings exist.

    Raises:
        InputError: If one does not, with the near ones.

    Example:
        >>> check_names({"lr": 0.1})
    """
    known = {each.name for each in dataclasses.fields(Settings)}
    if wrong := set(names) - known:
        raise unknown("setting", min(wrong), known)


def typed(config: Mapping[str, Any], name: str, kind: Any) -> Any:
    """A value of a ``config.yaml``, None if it has none; whole numbers may stand for lists of them and for floats.

    Raises:
        InputError: If it has another type.

    Example:
        >>> typed({"seed": 3}, "seed", int)
        3
    """
    value = config.get(name)
    kinds = {str} if name in LISTS else set(typing.get_args(kind) or (kind,)) - {type(None)}
    allowed = kinds | ({int} if name in LISTS or float in kinds else set())
    if value is not None and type(value) not in allowed:
        expected = " or ".join(each.__name__ for each in kinds)
        raise InputError(f"config.yaml: {name} is {shown(value)}: expected {expected}")
    return value


def integers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers from a list such as ``256,256``.

    Raises:
        InputError: If it is anything else.

    Example:
        >>> integers("hidden", "256,256"), integers("hidden", "500-500")
        ((256, 256), (500, 500))
    """
    try:
        return tuple(int(part) for part in text.strip("[]() ,").replace("-", ",").split(","))
    except ValueError:
        raise InputError(f"{name} is {text!r}: expected whole numbers, comma-separated, such as 256,256") from None
