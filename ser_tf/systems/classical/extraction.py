"""Features of recordings: computed once, in parallel, and kept on disk.

Each recording's vector is a file of its own, named after the content of the recording, in a folder
named after the version of the feature set. So every split of a corpus shares them, a changed
recording is never answered by old features, and what a kill leaves behind is used.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from edge import audio
from ser_tf.compiled import compile_librosa
from ser_tf.corpora import CorpusError
from ser_tf.corpora.recording import Recording
from ser_tf.systems.classical.features import FEATURE_SETS, FeatureSet

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# Starting a process, which imports librosa and compiles parts of it, takes as long as this many
# recordings.
WORTH_A_PROCESS = 40
HEARD_SECONDS = 60  # of a longer recording only the first so many


def read(source: audio.Source, sample_rate: int) -> NDArray[np.float32]:
    """What is heard of a recording: float32[n], no more than its first minute.

    Raises:
        AudioError: It cannot be read.
    """
    return next(audio.blocks(source, HEARD_SECONDS, sample_rate))


def extract(
    recordings: Sequence[Recording],
    features: FeatureSet,
    cache: str,
    *,
    title: str = "features",
    strict: bool = False,
) -> tuple[NDArray[np.float32], list[Recording]]:
    """The features of recordings, each computed unless it is in the cache.

    Args:
        recordings: In any order.
        features: Which ones.
        cache: A local folder.
        title: Shown beside the progress bar.
        strict: Make a recording that cannot be decoded an error instead of a warning.

    Returns:
        float32[n, features.size], and the n recordings that could be decoded, in their order.

    Raises:
        CorpusError: Nothing could be decoded, or with ``strict`` anything could not; or the cache
            cannot be used.
    """
    if "://" in cache:
        raise CorpusError(f"{cache}: features of classical systems need a local folder as --cache")
    folder = Path(cache) / f"features-{features.version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{cache}: cannot hold features ({error.strerror})") from None
    with ThreadPoolExecutor(CORES) as pool:
        kept = list(pool.map(lambda recording: _kept(recording.path, folder), recordings))
    missing = [n for n, path in enumerate(kept) if not _is_whole(path, features.size)]
    bar = tqdm(total=len(missing), desc=title, unit="file", file=sys.stderr, delay=2.0)
    failed = set()
    with bar:
        work = [(recordings[n].path, kept[n]) for n in missing]
        for n, fault in zip(missing, _computed(work, features.name), strict=True):
            bar.update()
            if fault:
                tqdm.write(f"warning: {fault}", file=sys.stderr)
                failed.add(n)
    if failed and strict:
        raise CorpusError(
            f"{len(failed)} of {len(recordings)} recordings cannot be decoded (above)"
        )
    if failed:
        print(f"warning: {len(failed)} of {len(recordings)} left out", file=sys.stderr)
    usable = [n for n in range(len(recordings)) if n not in failed]
    if not usable:
        raise CorpusError(f"none of {len(recordings)} recordings can be decoded")
    rows = np.stack([np.load(kept[n], allow_pickle=False) for n in usable])
    return rows, [recordings[n] for n in usable]


def _kept(recording: Path, folder: Path) -> Path:
    """Where the features of a recording are."""
    try:
        with recording.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    except OSError as error:
        raise CorpusError(f"{recording}: {error.strerror}") from None
    return folder / f"{digest.hexdigest()}.npy"


def _is_whole(path: Path, size: int) -> bool:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return values.shape == (size,) and values.dtype == np.float32


def _computed(work: Sequence[tuple[Path, Path]], name: str) -> Iterator[str]:
    """What hinders each recording, in their order; empty where its features are now on disk."""
    jobs = min(CORES, len(work) // WORTH_A_PROCESS)
    if jobs < 2:
        for recording, kept in work:
            yield _compute(recording, kept, name)
        return
    compile_librosa()
    # Unlike multiprocessing's, these processes do not import the command that was started, and
    # with it TensorFlow.
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        parallel = Parallel(return_as="generator", batch_size=8)
        try:
            yield from parallel(delayed(_compute)(*paths, name) for paths in work)
        except TerminatedWorkerError:
            raise CorpusError(
                "a process that computes features was ended, perhaps for memory; free some, and "
                "start again: what is done is kept"
            ) from None


def _compute(recording: Path, kept: Path, name: str) -> str:
    features = FEATURE_SETS[name]
    try:
        waveform = read(recording, features.sample_rate)
    except audio.AudioError as error:
        return str(error)
    # More threads add up in another order: features would depend on how many there were.
    with threadpool_limits(1):
        vector = features.compute(waveform)
    aside = kept.with_suffix(f".{os.getpid()}.part")
    with aside.open("wb") as file:
        np.save(file, vector)
    aside.replace(kept)
    return ""
