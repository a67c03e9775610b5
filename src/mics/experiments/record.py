"""The file of a finished cell of a comparison, read back."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mics.errors import InputError, RunError
from mics.evaluation.pair_score import PairScore
from mics.summary_parts import Matrix


class CellRecord(BaseModel):
    """What :func:`mics.experiments.cell.work` writes."""

    model_config = ConfigDict(extra="allow")

    method: str
    model: str | None
    fixed: str
    moving: str
    affine: Matrix
    affine_seconds: float
    memory_gb: float | None
    gpu_memory_gb: float | None
    load_before: float
    made_of: dict[str, Any] | None = None
    """Cells of earlier versions do not say it."""
    score: dict[str, Any]


class _CellIdentity(BaseModel):
    """What identifies a cell, whatever else is in it."""

    model: str | None


def _model_name(model: str | None) -> str:
    return "the default model" if model is None else f"the model {model}"


def read_record(path: Path, model: str | None) -> dict[str, Any] | None:
    """The record of a cell, None where there is none yet.

    Raises InputError for one of another ``model`` than is asked for now, and for a damaged one.
    """
    try:
        text = path.read_bytes()
        identity = _CellIdentity.model_validate_json(text)
        if identity.model != model:
            raise RunError(
                f"{path} was computed with {_model_name(identity.model)}, not with {_model_name(model)}: give another output "
                "folder, or delete the old cells."
            )
        record = CellRecord.model_validate_json(text)
        PairScore.from_dict(record.score).measures()
    except FileNotFoundError:
        return None
    except InputError:
        raise
    except (OSError, ValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged; delete it, and it is computed again.") from error
    return record.model_dump()
