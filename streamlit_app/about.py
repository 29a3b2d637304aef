"""The tab that says what the page is, and is not."""

import streamlit as st

WORDS = """
## What it does
One file of about a megabyte, trained with TensorFlow and run by TFLite, takes 3.6 seconds of sound
and gives the probabilities of eight emotions: neutral, calm, happy, sad, angry, fearful, disgust
and surprised. Longer recordings are heard window by window, and loud windows count for more.

## What it cannot do
- **It does not know what a person feels.** It judges how a voice sounds, and learnt that from 24
  North American actors who say two sentences, with a Polish and an Indian corpus beside them.
- An actor whom it has never heard it gets wrong one time in four. In other languages and rooms, and
  with other microphones, it is wrong more often than right, and it can be wrong and sure. A few
  clips of each emotion by one voice teach it that voice: `python -m ser_tf.train --from`.
- It hears the tone, not the words, and always weighs the same eight emotions: a slammed door gets
  one, too. Many people talking at once, and telephone lines, make it worse.
- **Not fit for judging people**: hiring, policing, diagnosis, lie detection, attention.

## Privacy
Nothing is stored. A recording goes to the computer that this page runs on, and to no other; it is
held in memory, or in a temporary file without a name, while this page is open in the browser. There
are no cookies for following anybody, no statistics, and no log of what was heard.

## Licences
The code is under the MIT licence. The model has learnt from RAVDESS by Steven R. Livingstone and
Frank A. Russo ([doi.org/10.5281/zenodo.1188976](https://doi.org/10.5281/zenodo.1188976), PLoS ONE
13(5): e0196391, 2018), nEMO by I. Christop (LREC-COLING 2024) and the Indian EmoSpeech Command
Dataset by S. Banga et al. (arXiv:1910.13801), all three CC BY-NC-SA 4.0: credit the authors, no
commercial use, share alike. The model, and the distributions that the tab Features shows, carry
these terms.

## Use it elsewhere
`python edge/run.py clip.wav` answers on a Raspberry Pi or anywhere, without this page and without
TensorFlow, recordings of any length.
"""


def show() -> None:
    """Say it."""
    st.markdown(WORDS)
