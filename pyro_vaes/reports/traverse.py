"""Traversals of a trained hierarchy, and the factors of the data that its levels encode."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyro_vaes import plots
from pyro_vaes.data import FACTORS, Data, Split
from pyro_vaes.data.sources import COLOURED
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import Classification, clustering, factor_probes
from pyro_vaes.evaluate.inputs import as_input, evaluating, of_split, seeded
from pyro_vaes.evaluate.representation import labels, thresholded
from pyro_vaes.missing import missing_values
from pyro_vaes.models.cluster_posterior import cluster_site
from pyro_vaes.plots.traversals import LatentView, fixed_latents, latent_views, traversals_of
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.reports.evaluate_run import labeled_classification
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.runs.atomic import unlinked
from pyro_vaes.vae import Guide, LatentVariableModel
from pyro_vaes.validation import check_seed, check_whole

COLUMNS = 10  # samples of a cluster
MOST_ROWS = 20  # clusters drawn
CHUNK = 100  # data clustered at a time, since a guide may draw 100 codes for each

TRAVERSALS, PAGE, FIGURES = "traversals.png", "levels.md", "levels.json"
SCORES = ("hungarian", "majority", "nmi", "ari")


def traverse(
    model: LatentVariableModel,
    guide: nn.Module,
    data: Data,
    out: str | os.PathLike[str],
    factors: Sequence[str] = (),
    points: int = 8,
    seed: int = 0,
    progress: bool = True,
) -> list[Path]:
    """Draw what each level of latents does, and tabulate which factor each one tells.

    - ``traversals.png``: the pictures of each level as it moves over quantiles of 1,000 draws of its prior, the others
      fixed at the posterior means of the first test image, or at a draw of the prior if the guide is no
      ``Guide``. In a stacked hierarchy the levels below follow at their conditional means.
    - ``clusters-z2.png`` and the like: samples of each cluster of a level whose prior is a ``GaussianMixture``, the
      20 of most weight at most.
    - ``levels.md`` and, with the same figures, ``levels.json``: what :func:`~pyro_vaes.evaluate.factor_probes` and, of
      clusters, :func:`~pyro_vaes.evaluate.clustering` say on the test split, and
      :func:`~pyro_vaes.evaluate.classification` if labels of some data were trained on. The cluster of a datum is the
      likeliest under ``guide.clusters(x)``.

    Pictures need images, and tables need labels in the training and test split; what is left out, ``levels.md`` says.
    A likelihood whose mean has no closed form is drawn from.

    Args:
        model: the model.
        guide: its guide.
        data: the data that they were trained on.
        out: folder to write to.
        factors: a name for each column of labels; the known ones of a coloured set, ``"label"`` for a single column,
            else ``"y1"`` ... if left out.
        points: pictures per side of a level's grid.
        seed: fixes all draws; the random state is left as it was.
        progress: whether to show a bar.

    Returns:
        The files that were written.

    Raises:
        InputError: If there are fewer than 2 points, another number of names than columns, or data that are neither
            images nor labeled.

    References:
        Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017), figures 5 and 6.

    Example:
        >>> import tempfile
        >>> import pyro_vaes as pv
        >>> images = pv.data.Data.from_arrays(x_train=torch.rand(20, 8, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in traverse(vae, guide, images, folder, points=2)]
        ['traversals.png', 'levels.json', 'levels.md']
    """
    check_whole("points", points, least=2)
    check_seed(seed)
    classes, data = labeled_classification(model, guide, data, seed), data.labeled
    factors = _factors(data, factors)
    drawable = len(data.event_shape) == 3 and data.event_shape[0] in (1, 3)
    if not (factors or drawable):
        raise InputError(
            f"data of shape {data.event_shape} without labels give neither pictures nor tables: give images of shape "
            "(1, H, W) or (3, H, W), or labels of both the training and the test split"
        )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    table = factor_probes(model, guide, data, factors, seed, progress).rows if factors else []
    with (
        evaluating(model, guide),
        missing_values(data.has_missing),
        seeded(seed, next(guide.parameters()).device),
        torch.no_grad(),
    ):
        first, start = of_split(data.test, slice(1), model, guide)
        views = latent_views(first, data.as_pixels)
        scores = _cluster_scores(model, guide, data, factors)
        fixed = fixed_latents(first, start, thresholded(data.test)[:1], views) if drawable else []
        figures = _figures(views, fixed, points) if drawable else {}
    report = {
        "data": data.description,
        "split": "test",
        "seed": seed,
        "levels": table,
        "clusters": scores,
        "classification": None if classes is None else asdict(classes),
        "left_out": _left_out(model, guide, data, factors, scores, drawable),
    }
    for name, figure in figures.items():
        figure.savefig(unlinked(folder / name), dpi=120)
    unlinked(folder / FIGURES).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    unlinked(folder / PAGE).write_text("\n".join(_page(report, figures)), encoding="utf-8")
    return [folder / name for name in (*figures, FIGURES, PAGE)]


def _factors(data: Data, given: Sequence[str]) -> Sequence[str]:
    """A name for each column of labels; none where a split that the tables need has no labels."""
    y = data.train.y
    width = 0 if y is None or data.test.y is None or y.is_floating_point() else y.reshape(len(y), -1).shape[1]
    if width and not given:
        if data.name in COLOURED:
            return FACTORS
        return ("label",) if width == 1 else [f"y{column}" for column in range(1, width + 1)]
    if len(given) != width:
        raise InputError(
            f"factors is {list(given)}, but training and test split have {width} columns of labels: "
            "give a name for each, or none"
        )
    return given


def _figures(views: Sequence[LatentView], fixed: Sequence[Tensor], points: int) -> dict[str, Figure]:
    """The pictures by the names of their files."""
    figures = {TRAVERSALS: traversals_of(views, fixed, points)}
    for place, view in enumerate(views):
        if isinstance(view.prior, GaussianMixture):
            latents = [each.draws[:COLUMNS] for each in views]
            figures[f"clusters-{view.site}.png"] = _clusters_figure(view, view.prior, latents, place)
    return figures


def _clusters_figure(view: LatentView, prior: GaussianMixture, latents: Sequence[Tensor], place: int) -> Figure:
    weights, order = prior.logits.softmax(0).sort(descending=True, stable=True)
    samples = prior().component_distribution.sample((COLUMNS,)).movedim(1, 0)
    shown = order[:MOST_ROWS]
    names = [f"{y}: {weight:.1%}" for y, weight in zip(shown.tolist(), weights.tolist(), strict=False)]
    return plots.clusters(view.decode, latents, place, samples[shown], names)


def _mixtures(model: LatentVariableModel) -> dict[str, GaussianMixture]:
    """The mixture priors by the names of their clusters' sites."""
    return {cluster_site(site): prior for site, prior in model.priors.items() if isinstance(prior, GaussianMixture)}


def _cluster_scores(
    model: LatentVariableModel, guide: nn.Module, data: Data, factors: Sequence[str]
) -> list[dict[str, Any]]:
    """One row per clustered latent and factor."""
    mixtures = _mixtures(model)
    if not (factors and mixtures and isinstance(guide, Guide)):
        return []
    train, test = (_assigned(model, guide, split) for split in (data.train, data.test))
    rows = []
    for site in train.keys() & mixtures.keys():
        for column, factor in enumerate(factors):
            y_train, y_test = labels(data.train, "train", column), labels(data.test, "test", column)
            scores = clustering(y_train, train[site], y_test, test[site])
            level = site.replace("y", "z")
            rows.append({"level": level, "clusters": len(mixtures[site].logits), "factor": factor, **asdict(scores)})
    return sorted(rows, key=lambda row: row["level"])


def _assigned(model: LatentVariableModel, guide: Guide, split: Split) -> dict[str, Tensor]:
    """The likeliest cluster of each datum, ``(N,)``, by the name of its site."""
    batches = [guide.clusters(x) for x in as_input(model, thresholded(split)).split(CHUNK)]
    return {site: torch.cat([batch[site].argmax(-1) for batch in batches]) for site in batches[0]}


def _left_out(
    model: LatentVariableModel,
    guide: nn.Module,
    data: Data,
    factors: Sequence[str],
    scores: Sequence[object],
    drawable: bool,
) -> list[str]:
    """Sentences that say what is not shown, and why."""
    lines = []
    if not drawable:
        lines.append(f"There are no pictures: data of shape {data.event_shape} are no images of 1 or 3 channels.")
    if not factors:
        lines.append("There are no tables: these take labels of both the training and the test split.")
    elif _mixtures(model) and not scores:
        lines.append(f"Clusters are not scored: {type(guide).__name__} gives none in clusters(x).")
    return lines


def _page(report: Mapping[str, Any], figures: Mapping[str, Figure]) -> list[str]:
    """The blocks of the report in Markdown."""
    lines = ["# What each level tells", "", f"{report['data']}; test split, seed {report['seed']}.", ""]
    lines += [f"{line}\n" for line in report["left_out"]]
    if report["levels"]:
        lines += ["Accuracy of a linear probe from the level's codes, ± the standard error over test data:", ""]
        lines += [_by_factor(report["levels"], "accuracy", "chance", ".1%"), ""]
        lines += ["Lower bound on the mutual information of code and factor in nats, ± the same:", ""]
        lines += [_by_factor(report["levels"], "information", "entropy", ".2f"), ""]
    if report["clusters"]:
        lines += ["Clusters against factors; the majority mapping is fitted on training data:", ""]
        header = ["level", "clusters", "factor"]
        rows = [[row[name] for name in header] + [f"{row[name]:.3f}" for name in SCORES] for row in report["clusters"]]
        lines += [markdown_table([*header, *SCORES], rows), ""]
    if report["classification"]:
        lines += [f"{Classification(**report['classification']).describe()}.", ""]
    if figures:
        lines.append(
            "Each level moves over quantiles of its prior while the others stay fixed, in a stacked hierarchy those "
            "above it; clusters have a row each, with their weight.\n"
        )
    return lines + [f"![{Path(name).stem}]({name})\n" for name in figures]


def _by_factor(rows: Sequence[Mapping[str, Any]], figure: str, bound: str, form: str) -> str:
    """One row per level and one column per factor, and last the figure that they are to be compared with."""
    table: dict[str, list[str]] = {}
    for row in rows:
        cell = f"{row[figure]:{form}} ± {row[f'{figure}_stderr']:{form}}"
        table.setdefault(row["level"], []).append(cell)
    factors = list(dict.fromkeys(row["factor"] for row in rows))
    table[bound] = [f"{row[bound]:{form}}" for row in rows[: len(factors)]]
    return markdown_table(["level", *factors], [[level, *cells] for level, cells in table.items()])
