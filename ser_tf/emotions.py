"""The eight emotions, in the order every model of this project answers in.

The order is that of the RAVDESS file names, whose third field counts the emotions from ``01``
(Livingstone and Russo, 2018, https://doi.org/10.1371/journal.pone.0196391).
"""

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

RAVDESS_CODES = {f"{number:02d}": emotion for number, emotion in enumerate(EMOTIONS, start=1)}
