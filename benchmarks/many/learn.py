"""Many networks at once on one GPU, to tell settings apart: ``learn.py PACKED``.

Every setting of ``pack.py`` is learnt on each split and seed, all networks of a kind beside one
another, and asked about the recordings that are held out. JAX, NumPy, SciPy and soundfile are all
that it needs. Nothing is kept but the figures, as CSV on standard output: accuracy, that of
speech, the loss at its best temperature and that temperature, and accuracy at another level, in
noise and on a narrow line.

Example:
    python benchmarks/many/pack.py --data RAVDESS --out packed export/strangers.toml other.toml
    python benchmarks/many/learn.py packed --seeds 0 1 > figures.csv
"""

import argparse
import csv
import functools
import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import network
import numpy as np
import scipy.optimize
import scipy.special
import sound
import soundfile

ASKED = 104  # recordings that are asked about at once
CHUNK = 4  # steps that are compiled together
CONDITIONS: dict[str, dict[str, float]] = {
    "clean": {},
    "+10 dB": {"gain_db": 10.0},
    "-10 dB": {"gain_db": -10.0},
    "white noise at 10 dB": {"noisy": True},
    "300-3400 Hz": {"narrow": True},
}


@dataclass(frozen=True)
class Job:
    """One network: a name of settings, a split, a seed."""

    name: str
    split: str
    seed: int


def settled(config: Mapping[str, Any]) -> dict[str, float]:
    """The settings that may differ between networks which learn beside one another."""
    augment, train, model = config["augment"], config["train"], config["model"]
    low, high = augment["noise_snr_db"]
    from_augment = (
        *("stretch", "gain_db", "equaliser_db", "mixup"),
        *("noise_probability", "echo_probability", "narrow_probability"),
        *("time_masks", "time_mask_frames", "frequency_masks", "frequency_mask_bands"),
    )
    from_train = ("learning_rate", "warmup", "weight_decay", "averaging", "label_smoothing")
    return {
        "noise_low_db": low,
        "noise_high_db": high,
        **{name: augment[name] for name in from_augment},
        **{name: train[name] for name in from_train},
        **{name: model[name] for name in ("dropout", "channel_dropout")},
    }


def kind(config: Mapping[str, Any]) -> str:
    """What must be alike in networks that learn beside one another."""
    train, model = config["train"], config["model"]
    alike = [config["frontend"], model["stem"], model["blocks"]]
    return json.dumps([*alike, train["epochs"], train["batch_size"], train["optimizer"]])


def prepared(packed: Path, tables: sound.Tables) -> Any:
    """Spectrograms of all recordings at all speeds."""
    compute = jax.jit(functools.partial(sound.spectra, tables=tables))
    found = []
    waiting, together = len(tables["labels"]), int(tables["together"])
    for path in sorted((packed / "windows").glob("*.opus")):
        samples, _ = soundfile.read(path, dtype="float32")
        windows = samples.reshape(min(waiting, together), -1)
        waiting -= len(windows)
        full = np.pad(windows, ((0, together - len(windows)), (0, 0)))
        found.append(compute(full)[: len(windows)])
    return jnp.concatenate(found)


class Learner:
    """Networks of one kind, learning beside one another.

    Args:
        config: Settings, of which those that :func:`kind` names count.
        spectra: What :func:`prepared` gave.
        tables: Of the pack.
    """

    def __init__(self, config: Mapping[str, Any], spectra: Any, tables: sound.Tables) -> None:
        self._config = config
        self._tables = tables
        self._front = front = config["frontend"]
        self._spectra = spectra[..., : 160 if front["pitch"] else sound.MELS]

        @jax.jit
        def moments(bands: Any) -> tuple[Any, Any]:
            level = jnp.maximum(bands.astype(jnp.float32), sound.FLOOR_DB)
            values = sound.features(level, tables, front)
            return jnp.sum(values, axis=1), jnp.sum(values**2, axis=1)

        middle = slice(sound.MARGIN, sound.MARGIN + sound.FRAMES)
        own = self._spectra[:, len(sound.SPEEDS) // 2, middle]
        pairs = [moments(own[n : n + 64]) for n in range(0, len(own), 64)]
        self._moments = [np.concatenate([np.asarray(p[n], "f8") for p in pairs]) for n in (0, 1)]
        self._advance = jax.jit(self._steps, donate_argnums=0)
        self._answer = jax.jit(self._answers)

    def _standards(self, train: np.ndarray) -> dict[str, np.ndarray]:
        total, square = (moment[train].sum(axis=0) for moment in self._moments)
        mean = total / (len(train) * sound.FRAMES)
        variance = np.maximum(square / (len(train) * sound.FRAMES) - mean**2, 0)
        share = self._front["whitening"]
        scale = np.sqrt(variance**share * variance.mean() ** (1 - share))
        return {"mean": mean.astype("f4"), "scale": np.maximum(scale, 1e-3).astype("f4")}

    def _class_weights(self, train: np.ndarray, exponent: float) -> np.ndarray:
        shares = np.bincount(self._tables["labels"][train], minlength=network.CLASSES) / len(train)
        weights = (1 / (network.CLASSES * shares)) ** exponent
        return (weights / np.sum(shares * weights)).astype("f4")

    def _step(self, state: Any, chosen: Any, speed: Any, step: Any, how: Any, spectra: Any) -> Any:
        key = jax.random.fold_in(state["key"], step)
        heard, dropped = jax.random.split(key)
        labels = jax.nn.one_hot(jnp.asarray(self._tables["labels"])[chosen], network.CLASSES)
        bands, targets = sound.changed(spectra, chosen, speed, labels, heard, how, self._tables)
        values = sound.features(bands, self._tables, self._front)
        values = (values - how["mean"]) / how["scale"]
        smooth = targets * (1 - how["label_smoothing"]) + how["label_smoothing"] / network.CLASSES

        def loss(weights: Any) -> tuple[Any, Any]:
            logits, moved = network.answered(
                weights, state["statistics"], values, self._config["model"], how, dropped
            )
            each = -jnp.sum(smooth * jax.nn.log_softmax(logits), axis=-1)
            return jnp.mean(each * (targets @ how["class_weights"])), moved

        gradients, moved = jax.grad(loss, has_aux=True)(state["weights"])
        muon = self._config["train"]["optimizer"] == "muon"
        weights, memory = network.stepped(
            state["weights"], gradients, state["memory"], step.astype(jnp.float32), how, muon
        )
        new = {"weights": weights, "memory": memory, "statistics": moved}
        kept = jax.tree_util.tree_map(  # steps beyond the last fill up what is compiled together
            lambda after, before: jnp.where(step < how["steps"], after, before),
            new,
            {name: state[name] for name in new},
        )
        return {**state, **kept}

    def _steps(
        self, state: Any, chosen: Any, speed: Any, first: Any, how: Any, spectra: Any
    ) -> Any:
        every = jax.vmap(self._step, in_axes=(0, 0, 0, None, 0, None))
        numbers = first + jnp.arange(len(chosen))
        return jax.lax.scan(
            lambda state, of: (every(state, *of, how, spectra), None),
            state,
            (chosen, speed, numbers),
        )[0]

    def _answers(self, state: Any, asked: Any, how: Any, condition: Any, spectra: Any) -> Any:
        def one(state: Any, how: Any, asked: Any) -> Any:
            logits = 0.0
            for speed in sound.AVERAGED:
                middle = slice(sound.MARGIN, sound.MARGIN + sound.FRAMES)
                level = spectra[asked, speed, middle].astype(jnp.float32)
                texture = self._tables["texture"][: sound.FRAMES, : level.shape[-1]]
                noise = sound.steady_noise(0.0, texture, self._tables)[None]
                power = jnp.exp(level * sound.DB)
                power = sound.with_noise(power, noise, 10.0, condition["noisy"], self._tables)
                level = jnp.log(jnp.maximum(power, 1e-13)) / sound.DB + condition["gain_db"]
                level = sound.narrowed(level, 300, 3400, condition["narrow"], self._tables)
                level = jnp.maximum(level, sound.FLOOR_DB)
                values = sound.features(level, self._tables, self._front)
                values = (values - how["mean"]) / how["scale"]
                average = state["memory"]["average"]
                model = self._config["model"]
                logits += network.answered(average, state["statistics"], values, model)[0]
            return logits / len(sound.AVERAGED)

        return jax.vmap(one)(state, how, asked)

    def learn(
        self, jobs: Sequence[Job], settings: Mapping[str, Mapping[str, Any]]
    ) -> list[dict[str, np.ndarray]]:
        """Logits of the recordings held out, ``(recordings, classes)``, by condition, a job."""
        train, asked = (
            [self._tables[f"{job.split}/{part}"] for job in jobs] for part in ("train", "asked")
        )
        batch, epochs = (self._config["train"][name] for name in ("batch_size", "epochs"))
        steps = round(epochs * float(np.mean([len(part) // batch for part in train])))
        whole = -(-steps // CHUNK) * CHUNK
        drawn = [
            self._drawn(job.seed, part, batch, whole) for job, part in zip(jobs, train, strict=True)
        ]
        order, speed = (np.stack(of, axis=1) for of in zip(*drawn, strict=True))
        told = [
            {
                **{name: np.float32(value) for name, value in settled(settings[job.name]).items()},
                "steps": np.float32(steps),
                "class_weights": self._class_weights(
                    part, settings[job.name]["train"]["class_weight"]
                ),
                **self._standards(part),
            }
            for job, part in zip(jobs, train, strict=True)
        ]
        how = jax.tree_util.tree_map(lambda *of: jnp.stack(of), *told)
        keys = jnp.stack([jax.random.key(job.seed) for job in jobs])
        begin = functools.partial(
            network.initial, model=self._config["model"], features=how["mean"].shape[-1]
        )
        weights, statistics = jax.vmap(begin)(keys)
        memory = {
            name: jax.tree_util.tree_map(jnp.zeros_like, weights)
            for name in ("momentum", "velocity", "average")
        }
        state = {"weights": weights, "statistics": statistics, "memory": memory, "key": keys}
        for first in range(0, whole, CHUNK):
            some = slice(first, first + CHUNK)
            state = self._advance(state, order[some], speed[some], first, how, self._spectra)
        return self._asked(state, how, asked)

    @staticmethod
    def _drawn(seed: int, part: np.ndarray, batch: int, steps: int) -> tuple[Any, Any]:
        generator = np.random.default_rng(seed)
        per = len(part) // batch
        epochs = [
            generator.permutation(part)[: per * batch].reshape(per, batch)
            for _ in range(-(-steps // per))
        ]
        speeds = generator.integers(0, len(sound.SPEEDS), (steps, batch))
        return np.concatenate(epochs)[:steps], speeds.astype(np.int32)

    def _asked(
        self, state: Any, how: Any, asked: Sequence[np.ndarray]
    ) -> list[dict[str, np.ndarray]]:
        most = -(-max(map(len, asked)) // ASKED) * ASKED
        padded = np.stack([np.pad(part, (0, most - len(part))) for part in asked])
        found: list[dict[str, np.ndarray]] = [{} for _ in asked]
        for name, changes in CONDITIONS.items():
            condition = {"gain_db": 0.0, "noisy": False, "narrow": False, **changes}
            logits = np.concatenate(
                [
                    np.asarray(
                        self._answer(state, padded[:, n : n + ASKED], how, condition, self._spectra)
                    )
                    for n in range(0, most, ASKED)
                ],
                axis=1,
            )
            for of, part, rows in zip(found, asked, logits, strict=True):
                of[name] = rows[: len(part)]
        return found


def figures(
    logits: Mapping[str, np.ndarray], asked: np.ndarray, tables: sound.Tables
) -> dict[str, float]:
    """Accuracies in every condition, and of clean recordings the loss at its best temperature."""
    truth, speech = tables["labels"][asked], tables["speech"][asked]
    right = {name: rows.argmax(axis=1) == truth for name, rows in logits.items()}

    def loss(log_temperature: float) -> float:
        scaled = scipy.special.log_softmax(logits["clean"] / np.exp(log_temperature), axis=1)
        return -float(np.mean(scaled[np.arange(len(truth)), truth]))

    best = scipy.optimize.minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded")
    return {
        **{name: float(of.mean()) for name, of in right.items()},
        "speech": float(right["clean"][speech].mean()),
        "loss": float(best.fun),
        "temperature": float(np.exp(best.x)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].split(": ")[0])
    parser.add_argument("packed", type=Path, help="folder that pack.py made")
    splits = [f"actors:{fold}" for fold in range(5)]
    parser.add_argument("--splits", nargs="+", default=splits, help="default: all five folds")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="default: 0 1")
    parser.add_argument("--together", type=int, default=40, help="networks at once (default: 40)")
    args = parser.parse_args(argv)
    try:
        with np.load(args.packed / "tables.npz") as file:
            tables = dict(file)
        settings = json.loads((args.packed / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"{args.packed}: is not what pack.py makes: {error}", file=sys.stderr)
        return 1
    spectra = prepared(args.packed, tables)
    columns = ["settings", "split", "seed", *CONDITIONS, "speech", "loss", "temperature"]
    written = csv.DictWriter(sys.stdout, columns)
    written.writeheader()
    kinds = {name: kind(config) for name, config in settings.items()}
    for those in ([n for n in kinds if kinds[n] == each] for each in dict.fromkeys(kinds.values())):
        learner = Learner(settings[those[0]], spectra, tables)
        jobs = [Job(*each) for each in itertools.product(those, args.splits, args.seeds)]
        for first in range(0, len(jobs), args.together):
            some = jobs[first : first + args.together]
            started = time.perf_counter()
            for job, logits in zip(some, learner.learn(some, settings), strict=True):
                asked = tables[f"{job.split}/asked"]
                shown = {"settings": job.name, "split": job.split, "seed": job.seed}
                told = figures(logits, asked, tables)
                written.writerow(shown | {name: f"{told[name]:.4g}" for name in told})
            seconds = time.perf_counter() - started
            print(f"{len(some)} networks in {seconds:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
