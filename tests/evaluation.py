"""A small labelled folder, and the command that asks a model about it."""

import soundfile

from ser_tf import evaluate
from tests import stub_model

LABELS = ("calm", "angry", "sad")
CLIPS = 10  # of each label; the first two sound like another emotion


def write_tones(folder):
    """Tones named after what the stub hears in them, save that the first two "sad" are "happy"."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for clip in range(CLIPS):
            heard = "happy" if label == "sad" and clip < 2 else label
            sound = stub_model.tone(heard, 0.5 + 0.1 * clip)
            soundfile.write(folder / label / f"{clip}.wav", sound, stub_model.SAMPLE_RATE)
    return folder


def command(*arguments):
    """Run the command in this process; its exit status."""
    return evaluate.main([str(argument) for argument in arguments])
