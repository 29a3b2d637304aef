// The model in the browser: the counterpart of edge/classifier.py, on LiteRT.js.
import {loadAndCompile, loadLiteRt, Tensor} from '@litertjs/core';
import {loudness, SILENCE_DBFS, variance, voiceWindows} from './voice.js';

const LEAST_PROBABILITY = 1e-9; // keeps the logarithm finite

export class EmotionClassifier {
  /** Fetch the runtime and a model; the labels are read from the model file itself. */
  static async load(model = 'ser.tflite', wasm = 'wasm/') {
    const answer = await fetch(model);
    if (!answer.ok) throw new Error(`${model}: cannot be fetched (${answer.status})`);
    const content = new Uint8Array(await answer.arrayBuffer());
    await loadLiteRt(new URL(wasm, document.baseURI).href);
    const compiled = await loadAndCompile(content, {accelerator: 'wasm'});
    return new EmotionClassifier(compiled, labelsOf(content));
  }

  constructor(compiled, labels) {
    this.compiled = compiled;
    this.labels = labels;
    this.window = compiled.getInputDetails()[0].shape[1]; // samples
  }

  /** Run the model once: Float32Array[window] within [-1, 1] -> probabilities in labels' order. */
  async probabilities(window) {
    const input = new Tensor(window, [1, this.window]);
    const [output] = await this.compiled.run([input]);
    const probabilities = Array.from(output.toTypedArray());
    input.delete();
    output.delete();
    return probabilities;
  }

  /**
   * One answer for a waveform at 16 kHz: windows on the voice, weighted by their energy.
   * Returns probabilities in labels' order, or null for silence.
   */
  async predict(waveform, silence = SILENCE_DBFS) {
    if (loudness(waveform) < silence) return null;
    const weighted = this.labels.map(() => 0);
    let weights = 0;
    for (const window of voiceWindows(waveform, this.window)) {
      const energy = variance(window);
      const probabilities = await this.probabilities(window);
      weights += energy;
      probabilities.forEach((p, i) => {
        weighted[i] += energy * Math.log(Math.max(p, LEAST_PROBABILITY));
      });
    }
    const powers = weighted.map((sum) => Math.exp(sum / weights));
    const total = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / total);
  }
}

/** The lines of labels.txt, which lies uncompressed in the ZIP archive at the model's end. */
function labelsOf(content) {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const end = content.length - 22; // the archive's last record, which has no comment
  const directory = view.getUint32(end, true) === 0x06054b50 ? view.getUint32(end + 16, true) : 0;
  if (!directory) throw new Error('The model file holds no labels, or is cut short.');
  const size = view.getUint32(directory + 20, true);
  const header = view.getUint32(directory + 42, true);
  const names = view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
  const start = header + 30 + names;
  return new TextDecoder().decode(content.subarray(start, start + size)).trim().split(/\r?\n/);
}
