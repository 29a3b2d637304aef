// Audio files in and out.
import {SAMPLE_RATE} from './voice.js';

const LONGEST = 600; // seconds

/** Read a File: Float32Array at 16 kHz, the mean of the channels. */
export async function read(file) {
  const waveform = await decode(file).catch(() => {
    throw new Error(`${file.name}: is no audio that this browser can read.`);
  });
  if (waveform.length > LONGEST * SAMPLE_RATE) {
    throw new Error(`${file.name}: is longer than ${LONGEST / 60} minutes; cut it first.`);
  }
  return waveform;
}

/** A waveform at another rate, at 16 kHz. Browsers resample well where they decode a file. */
export async function resample(waveform, rate) {
  return rate === SAMPLE_RATE ? waveform : decode(wav(waveform, rate));
}

async function decode(blob) {
  const decoder = new OfflineAudioContext(1, 1, SAMPLE_RATE); // decodes to its own rate
  const buffer = await decoder.decodeAudioData(await blob.arrayBuffer());
  const waveform = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) waveform[i] += samples[i] / buffer.numberOfChannels;
  }
  return waveform;
}

/** A waveform within [-1, 1] as a WAV file of 16 bits, mono. */
export function wav(waveform, rate = SAMPLE_RATE) {
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((c, i) => header.setUint8(at + i, c.charCodeAt()));
  const samples = Int16Array.from(waveform, (x) => Math.max(-32768, Math.min(32767, 32768 * x)));
  text(0, 'RIFF');
  header.setUint32(4, 36 + samples.byteLength, true);
  text(8, 'WAVEfmt ');
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true);
  header.setUint32(24, rate, true);
  header.setUint32(28, 2 * rate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, 'data');
  header.setUint32(40, samples.byteLength, true);
  return new Blob([header, samples], {type: 'audio/wav'});
}
