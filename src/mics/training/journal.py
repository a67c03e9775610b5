"""What a run says of itself: a line an epoch, in its folder and to those who listen to the logger ``mics.training``."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint

from mics.errors import counted
from mics.files.paths import output_path

LOG = "training.log"
BEST_BY = "val/loss"

_log = logging.getLogger("mics.training")


class Journal(lightning.Callback):
    """Writes ``RUN/training.log``: when the run began, each epoch with its losses, and what was best after how long.

    :attr:`measures`, of the last validation, and the time so far are kept in the checkpoints, so that both last over a pause.
    """

    def __init__(self, run: Path, epochs: int) -> None:
        self.path = output_path(run / LOG)
        self.epochs = epochs
        self.measures: dict[str, float] = {}
        self._earlier = 0.0
        self._began = self._epoch_began = time.monotonic()
        self._epochs_here = 0

    @property
    def seconds(self) -> float:
        """Seconds of the run so far, pauses left out."""
        return self._earlier + time.monotonic() - self._began

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"seconds": self.seconds, "measures": self.measures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the time of the checkpoint."""
        self._earlier, self.measures = state_dict["seconds"], state_dict["measures"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say from where the run goes to where."""
        self._began = self._epoch_began = time.monotonic()
        first = trainer.current_epoch
        begins = f"goes on after epoch {first}" if first else "begins"
        self._write_line(
            trainer,
            f"training {begins}: {counted(self.epochs, 'epoch')} of {counted(int(trainer.num_training_batches), 'iteration')}",
        )

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep what was measured, before the checkpoints are written."""
        self.measures = {name: float(value) for name, value in trainer.callback_metrics.items() if _is_reported(name)}

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The epoch's line: its number, losses and time, whether it is the best, and how long the rest will take."""
        now = time.monotonic()
        self._epochs_here += 1
        done = trainer.current_epoch + 1
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        values = {name: value for name, value in metrics.items() if name in ("train/loss", "train/dice_loss")}
        parts = [f"{name} {value:.4g}" for name, value in (values | self.measures).items()]
        parts.append(duration(now - self._epoch_began))
        if metrics.get(BEST_BY) == _best(trainer):
            parts.append("the best so far")
        if done < self.epochs:
            parts.append(f"{duration((now - self._began) / self._epochs_here * (self.epochs - done))} left")
        self._epoch_began = now
        self._write_line(trainer, f"epoch {done} of {self.epochs}: {', '.join(parts)}")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The time of the whole run."""
        self._write_line(
            trainer,
            f"{counted(trainer.current_epoch, 'epoch')} in {duration(self.seconds)}; lowest {BEST_BY} {_best(trainer):.4g}",
        )

    def _write_line(self, trainer: lightning.Trainer, text: str) -> None:
        if trainer.is_global_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            _log.info("%s", text)


def duration(seconds: float) -> str:
    """A time to read: ``8 s``, ``3 min 5 s``, ``2 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _is_reported(name: str) -> bool:
    """Whether a measure is one of the validation's, and not of a single organ."""
    return name.startswith("val/") and not name[-2:].isdigit()


def _best(trainer: lightning.Trainer) -> float:
    keepers = [
        one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint) and one.monitor == BEST_BY
    ]
    score = keepers[0].best_model_score if keepers else None
    return float("nan") if score is None else float(score)
