// The page: a microphone or a file in, an answer and its probabilities out.
import {EmotionClassifier} from './classifier.js';
import {Microphone} from './microphone.js';
import {read, resample, wav} from './recording.js';
import {loudness, SAMPLE_RATE} from './voice.js';

const EVERY = 0.5; // seconds between two answers
const QUIETEST = -90; // dBFS; the left end of the level meter

const part = (id) => document.getElementById(id);
let classifier;
let microphone = null;
let asking = false; // for the microphone
let held = new Float32Array(0); // what was heard last, a window at most, at the microphone's rate
let fresh = 0; // samples of it since the last answer
let busy = false;
let sources = 0; // microphones and files so far
let answered = null; // the window that the answer shown speaks for
let last = null; // its probabilities, null for silence

async function start() {
  classifier = await EmotionClassifier.load();
  part('bars').replaceChildren(...classifier.labels.map(row));
  part('listen').disabled = part('file').disabled = false;
  part('hint').textContent = 'Listen to the microphone, or open a recording.';
  document.body.dataset.state = 'ready';
}

function row(label) {
  const item = document.createElement('li');
  item.dataset.label = label;
  item.innerHTML = '<span class="label"></span><span class="bar"><i></i></span><b>–</b>';
  item.querySelector('.label').textContent = label;
  return item;
}

async function listen() {
  if (microphone) return stop();
  if (asking) return; // not disabled, which would take the keyboard's focus away
  asking = true;
  try {
    forget();
    microphone = await Microphone.open(heard, () => {
      stop();
      complain('The microphone was unplugged.');
    });
    part('listen').textContent = 'Stop';
    part('level').hidden = false;
    part('hint').textContent = 'Listening. Speak for a few seconds.';
  } catch (error) {
    complain(error.message);
  }
  asking = false;
}

function stop() {
  if (!microphone) return;
  microphone.close();
  microphone = null;
  part('listen').textContent = 'Listen';
  part('level').hidden = true;
  part('hint').textContent = 'Stopped.';
  part('save').hidden = !answered;
}

function save() {
  URL.revokeObjectURL(part('save').href);
  part('save').href = URL.createObjectURL(wav(answered));
}

/** Keep the last window of what the microphone hears, and answer it twice a second. */
async function heard(piece) {
  if (!microphone) return;
  const rate = microphone.sampleRate;
  const most = Math.round((classifier.window * rate) / SAMPLE_RATE);
  const joined = new Float32Array(Math.min(held.length + piece.length, most));
  joined.set(held.subarray(held.length + piece.length - joined.length));
  joined.set(piece, joined.length - piece.length);
  held = joined;
  fresh += piece.length;
  part('meter').value = Math.max(QUIETEST, loudness(piece));
  if (fresh < EVERY * rate || busy) return; // an answer that is late is left out
  fresh = 0;
  await answer(resample(held, rate), Number(part('silence').value));
}

async function open() {
  const [file] = part('file').files;
  part('file').value = ''; // so that the same file can be opened again
  if (!file) return;
  stop();
  forget();
  part('hint').textContent = file.name;
  await answer(read(file));
}

/** Answer the waveform that a promise gives, unless the page has gone on to another source. */
async function answer(promised, silence) {
  const source = sources;
  busy = true;
  try {
    const waveform = await promised;
    const probabilities = await classifier.predict(waveform, silence);
    if (source !== sources) return;
    last = probabilities;
    answered = waveform;
    show();
  } catch (error) {
    stop();
    complain(error.message);
  } finally {
    busy = false;
  }
}

/** Draw the last answer. */
function show() {
  const best = last ? last.indexOf(Math.max(...last)) : -1;
  const sure = last && last[best] >= part('least').value / 100;
  const name = last ? classifier.labels[best] : 'silence';
  const said = sure || !last ? name : 'not sure';
  const leaning = last && !sure ? `It leans to ${name}, ${percent(last[best])}.` : '';
  part('emotion').textContent = said;
  part('confidence').textContent = sure ? percent(last[best]) : '';
  part('leaning').textContent = leaning;
  if (part('spoken').textContent !== said) part('spoken').textContent = said;
  [...part('bars').children].forEach((item, i) => {
    item.querySelector('i').style.width = last ? `${100 * last[i]}%` : '0';
    item.querySelector('b').textContent = last ? percent(last[i], 1) : '–';
    item.classList.toggle('best', i === best);
  });
}

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;

function forget() {
  held = new Float32Array(0);
  fresh = 0;
  last = answered = null;
  sources++;
  for (const id of ['problem', 'emotion', 'confidence', 'leaning']) part(id).textContent = '';
  part('save').hidden = true;
}

function complain(words) {
  part('problem').textContent = words;
  part('hint').textContent = '';
}

part('listen').addEventListener('click', listen);
part('file').addEventListener('change', open);
part('save').addEventListener('click', save);
for (const id of ['least', 'silence']) {
  const tell = () => { part(`${id}-value`).textContent = part(id).value.replace('-', '−'); };
  part(id).addEventListener('input', tell);
  tell();
}
part('least').addEventListener('input', () => part('emotion').textContent && show());
start().catch((error) => complain(`The model could not be loaded: ${error.message}`));
