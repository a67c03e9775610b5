"""A prepared set whose annotations a network completes, and what a reviewer has said of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mics.data.frame import centres
from mics.data.manifest import Entry, make_folder, moved, read_manifest, write_manifest
from mics.data.preview import write_preview
from mics.evaluation.metrics import dice
from mics.files.folder import own_folder
from mics.files.whole import write_text
from mics.image.io import Image, read_image, read_labels, write_image
from mics.network.weights import DEFAULT_SEGMENTATION, LoadedModel, load_model_for
from mics.organs import ORGAN_NAMES
from mics.pseudo_labels.clean import PSEUDO_ORGANS, Labels, completed, largest_parts
from mics.pseudo_labels.label_review import REVIEWS, WHOLE_CASE, LabelReview, read_reviews
from mics.pseudo_labels.page import Card, write_page
from mics.pseudo_labels.predict import blocks, predict
from mics.pseudo_labels.rank import OrganStatistics, Plausibility, as_csv, rank
from mics.pseudo_labels.record import PREDICTED, CaseRecord, key_of, read_record, write_record

LABELS, PICTURES, RANKING = "labels", "pictures", "ranking.csv"


Scores = dict[tuple[str, int], Plausibility]
LabelReviews = Mapping[tuple[str, int], LabelReview]


def complete(
    prepared: Path,
    output: Path,
    *,
    model: str | Path = DEFAULT_SEGMENTATION,
    device: torch.device | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Entry]:
    """Predict the organs that are not annotated and write a training set into ``output``; returns its manifest's rows.

    ``prepared`` is a folder of :func:`mics.data.prepare.prepare`, whose volumes are used where they are. What annotators
    drew is kept; of each other organ of :data:`PSEUDO_ORGANS` the largest connected part is added. ``output`` gets
    ``labels/``, ``manifest.csv``, ``ranking.csv`` and ``review.html``, worst first. The reviews in ``output/verdicts.csv`` are
    honoured: what is rejected is no longer trained on, and its row says why. Subjects of a test split are passed on as they
    are. Predictions that are there, of the same model and files, stay. ``progress`` is called with each case that is predicted.

    Raises :class:`InputError` for a model that does not segment or does not fit, for reviews that cannot be read, and for an
    ``output`` that holds something else, or into which another run writes; before anything is written.
    """
    entries, loaded = read_manifest(prepared), load_model_for("segmentation", model)
    reviews = read_reviews(output / REVIEWS, {entry.name for entry in entries})
    trained = [entry for entry in entries if entry.status == "prepared" and entry.split != "test"]
    if incomplete := next((entry for entry in trained if _missing(entry)), None):
        blocks(loaded, read_image(prepared / incomplete.image).grid)
    with own_folder(output, PREDICTED, "completed cases"):
        return _completed(prepared, output, entries, trained, loaded, reviews, device or torch.device("cpu"), progress)


def _completed(
    prepared: Path,
    output: Path,
    entries: Sequence[Entry],
    trained: Sequence[Entry],
    loaded: LoadedModel,
    reviews: LabelReviews,
    device: torch.device,
    progress: Callable[[str], None],
) -> list[Entry]:
    for folder in (LABELS, PREDICTED, PICTURES):
        make_folder(output / folder)
    records = {}
    for entry in trained:
        record = read_record(output, entry.name)
        key = key_of(prepared, entry, loaded)
        if record is None or record.key != key:
            record = _predicted(prepared, output, entry, loaded, key, device)
            if any(statistics.predicted for statistics in record.organs.values()):
                progress(entry.name)
        records[entry.name] = record
    scores = rank(
        {name: record.organs for name, record in records.items()},
        {name: record.agreement for name, record in records.items() if record.agreement is not None},
    )
    rows = [moved(entry, prepared, output) for entry in entries]
    rows = [_reviewed(row, records[row.name], reviews) if row.name in records else row for row in rows]
    for entry, row in zip(entries, rows, strict=True):
        if entry.name in records:
            _write_labels(prepared, output, entry, row, records[entry.name], scores)
    write_manifest(rows, output)
    write_text(as_csv(scores), output / RANKING)
    write_page(_cards(scores, reviews), reviews, output)
    return rows


def _predicted(
    prepared: Path, output: Path, entry: Entry, model: LoadedModel, key: str, device: torch.device
) -> CaseRecord:
    """Predict one case, unless its annotators looked for everything, and write the prediction and its organs' statistics."""
    image = read_image(prepared / entry.image)
    truth = _annotated(prepared, entry)
    organs = {} if truth is None else _statistics(Image(truth, image.grid), entry.organs)
    agreement = None
    if missing := _missing(entry):
        labels, probability = predict(model, image, device)
        cleaned, parts = largest_parts(labels, PSEUDO_ORGANS)
        for organ, statistics in _statistics(Image(cleaned, image.grid), missing).items():
            voxels = cleaned == organ
            confidence = float(probability[voxels].mean()) if voxels.any() else 0.0
            known = {"parts": parts.get(organ, 0.0), "confidence": confidence, "predicted": True}
            organs[organ] = statistics.model_copy(update=known)
        if truth is not None and (
            overlaps := dice(truth, cleaned, set(entry.organs) & set(PSEUDO_ORGANS), moving_labels=truth)
        ):
            agreement = float(np.mean(list(overlaps.values())))
        write_image(Image(labels, image.grid), output / PREDICTED / f"{entry.name}.nii.gz")
    record = CaseRecord(key=key, organs=organs, agreement=agreement)
    write_record(output, entry.name, record)
    return record


def _write_labels(prepared: Path, output: Path, entry: Entry, row: Entry, record: CaseRecord, scores: Scores) -> None:
    """Write the labels to train with and their picture, unless they are there."""
    path, picture = output / row.labels, output / PICTURES / f"{entry.name}.png"
    if record.completed == row.pseudo_organs and path.is_file():
        return
    image, truth = read_image(prepared / entry.image), _annotated(prepared, entry)
    file = output / PREDICTED / f"{entry.name}.nii.gz"
    predicted = read_labels(file).array.astype(np.uint8) if file.is_file() else np.zeros(image.grid.size, np.uint8)
    cleaned, _ = largest_parts(predicted, PSEUDO_ORGANS)
    labels = completed(truth, entry.organs, cleaned, row.pseudo_organs)
    write_image(Image(labels, image.grid), path)
    shown = completed(truth, entry.organs, cleaned, PSEUDO_ORGANS)
    write_preview(image, shown, picture, next((organ for name, organ in scores if name == entry.name), None))
    write_record(output, entry.name, record.model_copy(update={"completed": row.pseudo_organs}))


def _reviewed(entry: Entry, record: CaseRecord, reviews: LabelReviews) -> Entry:
    """The row of a completed case, without what was rejected."""
    found = [organ for organ, known in record.organs.items() if known.predicted and known.centre_mm is not None]
    rejected = {
        organ: review.comment for (name, organ), review in reviews.items() if name == entry.name and not review.keep
    }
    update: dict[str, Any] = {
        "labels": f"{LABELS}/{entry.name}.nii.gz",
        "organs": tuple(organ for organ in entry.organs if organ not in rejected),
        "pseudo_organs": tuple(sorted(organ for organ in found if organ not in rejected)),
    }
    if rejected:
        messages = [
            ORGAN_NAMES.get(organ, "the whole case") + (f" ({comment})" if comment else "")
            for organ, comment in sorted(rejected.items())
        ]
        update["reason"] = f"Rejected by hand: {', '.join(messages)}."
    if WHOLE_CASE in rejected:
        update["status"] = "rejected"
    return entry.model_copy(update=update)


def _statistics(labels: Image, organs: Any) -> dict[int, OrganStatistics]:
    """Volume and place of each of ``organs``, there or not."""
    places, voxel_ml = centres(labels), float(np.prod(labels.grid.spacing)) / 1000
    return {
        organ: OrganStatistics(
            volume_ml=np.count_nonzero(labels.array == organ) * voxel_ml, centre_mm=places.get(organ)
        )
        for organ in organs
    }


def _missing(entry: Entry) -> list[int]:
    """Organs to predict, as no annotator looked for them."""
    return [organ for organ in PSEUDO_ORGANS if organ not in entry.organs]


def _annotated(prepared: Path, entry: Entry) -> Labels | None:
    return read_labels(prepared / entry.labels).array.astype(np.uint8) if entry.labels else None


def _cards(scores: Scores, reviews: LabelReviews) -> list[Card]:
    """One card a case, in the order of its worst organ; cases that were looked at and kept come last."""
    organs: dict[str, list[tuple[int, Plausibility]]] = {}
    for (name, organ), plausibility in scores.items():
        organs.setdefault(name, []).append((organ, plausibility))
    cards = [Card(name, f"{PICTURES}/{name}.png", found) for name, found in organs.items()]
    return sorted(cards, key=lambda card: (card.case, WHOLE_CASE) in reviews)
