"""The folder one training run writes, and the state it is resumed from."""

import csv
import fcntl
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # a model without layers is trained without Keras
    import keras


class RunError(Exception):
    """A run folder that cannot be used; the message is one line that names it."""


class Run:
    """One run's folder: ``config.toml``, ``split.json``, ``history.csv``, ``tensorboard/``,
    ``state.npz`` while it trains, and ``model.keras`` or ``model.skops`` once it has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.split = folder / "split.json"
        self.history = folder / "history.csv"
        self.tensorboard = folder / "tensorboard"
        self.state = folder / "state.npz"
        self.start = folder / "start.keras"  # what was fine-tuned
        self.model = folder / "model.keras"
        self.classical = folder / "model.skops"
        self.metrics = folder / "training.json"

    @classmethod
    def create(cls, folder: Path | None) -> "Run":
        """Make a new folder, ``runs/<time>`` unless one is named.

        Raises:
            RunError: It exists already: two runs never share a folder.
        """
        run = cls(folder or Path("runs") / datetime.now().strftime("%Y-%m-%d-%H%M%S-%f"))
        try:
            run.folder.mkdir(parents=True)
        except FileExistsError:
            raise RunError(
                f"{run.folder}: exists already; go on with it by --resume, or choose another --out"
            ) from None
        except OSError as error:
            raise RunError(f"{run.folder}: {error.strerror}; choose another --out") from None
        return run

    @classmethod
    def existing(cls, folder: Path) -> "Run":
        """Open a folder that an earlier run has made.

        Raises:
            RunError: It is not one.
        """
        run = cls(folder)
        if not run.config.is_file():
            raise RunError(f"{folder}: holds no run to resume (no {run.config.name})")
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the folder; the lock falls with the process.

        Raises:
            RunError: Another process is training in it.
        """
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{self.folder}: another process is training in it") from None
            yield

    def save_state(self, epochs_done: int, variables: "Sequence[keras.Variable]") -> None:
        """Write every variable's value, aside and renamed, so that a kill leaves the older one."""
        values = {f"{i:04d}": np.asarray(variable) for i, variable in enumerate(variables)}
        aside = self.state.with_suffix(".part.npz")
        np.savez(aside, epochs_done=epochs_done, **values)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(self.state)

    def load_state(self, variables: "Sequence[keras.Variable]") -> int:
        """Put saved values back into ``variables`` and say how many epochs they have seen.

        Raises:
            RunError: The state is damaged or of a different model.
        """
        try:
            with np.load(self.state, allow_pickle=False) as state:
                if len(state.files) != len(variables) + 1:
                    raise ValueError(
                        f"{len(state.files) - 1} values for {len(variables)} variables"
                    )
                for i, variable in enumerate(variables):
                    variable.assign(state[f"{i:04d}"])
                return int(state["epochs_done"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(f"{self.state}: cannot be resumed from: {error}") from None

    def keep_history(self, epochs: int) -> None:
        """Drop what ``history.csv`` says of epochs that the saved state has not seen."""
        if not self.history.exists():
            return
        with self.history.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]
        aside = self.history.with_suffix(".part")
        if rows:
            with aside.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            aside.replace(self.history)
        else:
            self.history.unlink()

    def seconds(self) -> float:
        """What the epochs in ``history.csv`` took, in all processes that trained here."""
        if not self.history.exists():
            return 0.0
        with self.history.open(newline="") as file:
            return sum(float(row.get("seconds") or 0) for row in csv.DictReader(file))

    @property
    def finished(self) -> Path | None:
        """The trained model, where there is one and all that belongs to it."""
        if not self.metrics.is_file():
            return None
        return next((path for path in (self.model, self.classical) if path.is_file()), None)

    def append_history(self, row: Mapping[str, object]) -> None:
        """Add one epoch to ``history.csv``."""
        new = not self.history.exists()
        with self.history.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
