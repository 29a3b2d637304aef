// Where a voice lies in a waveform: the counterpart of edge/audio.py, with the same numbers.

export const SAMPLE_RATE = 16_000; // Hz
export const SILENCE_DBFS = -80;
const VOICE_RANGE_DB = 35; // frames this far below the loudest one, or less, belong to the voice
const FRAME = 0.025 * SAMPLE_RATE;
const HOP = 0.010 * SAMPLE_RATE;

/** Mean square of each 25 ms frame about its own mean, 10 ms apart; of all if there is none. */
function framePower(waveform) {
  const powers = [];
  for (let start = 0; start + FRAME <= waveform.length; start += HOP) {
    powers.push(variance(waveform.subarray(start, start + FRAME)));
  }
  return powers.length ? powers : [variance(waveform)];
}

/** Of a Float32Array; 0 for an empty one. */
export function variance(samples) {
  let sum = 0;
  let squares = 0;
  for (const sample of samples) {
    sum += sample;
    squares += sample * sample;
  }
  const count = Math.max(1, samples.length);
  return Math.max(0, squares / count - (sum / count) ** 2);
}

/** Level of the loudest frame, in dB below full scale; -Infinity for digital silence. */
export function loudness(waveform) {
  return 10 * Math.log10(framePower(waveform).reduce((a, b) => Math.max(a, b), 0));
}

/** First sample of the voice and the one after its last. */
function voiceSpan(waveform) {
  const powers = framePower(waveform);
  const least = powers.reduce((a, b) => Math.max(a, b), 0) * 10 ** (-VOICE_RANGE_DB / 10);
  if (waveform.length < FRAME || least === 0) return [0, waveform.length];
  const loud = (power) => power >= least;
  return [powers.findIndex(loud) * HOP, powers.findLastIndex(loud) * HOP + FRAME];
}

/** First samples of the windows that cover the voice; negative where a window is the longer. */
function windowStarts(waveform, window) {
  const length = waveform.length;
  if (length <= window) return [Math.floor((length - window) / 2)];
  const [start, end] = voiceSpan(waveform);
  if (end - start <= window) {
    const centred = Math.floor((start + end - window) / 2);
    return [Math.min(Math.max(centred, 0), length - window)];
  }
  const starts = [];
  for (let at = start; at < end - window; at += Math.floor(window / 2)) starts.push(at);
  return [...starts, end - window];
}

/** The pieces of a waveform that the model is to hear, zero-padded where it is shorter. */
export function* voiceWindows(waveform, window) {
  for (const start of windowStarts(waveform, window)) {
    const piece = new Float32Array(window);
    piece.set(waveform.subarray(Math.max(start, 0), start + window), Math.max(-start, 0));
    yield piece;
  }
}
