// The visitor's microphone as a stream of samples. Nothing leaves the page.

const AS_IT_IS = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};

export class Microphone {
  /**
   * Ask for the microphone and start.
   * heard: called with a Float32Array of 0.1 s, again and again; lost: called when it is unplugged.
   */
  static async open(heard, lost) {
    if (!navigator.mediaDevices) {
      throw new Error('A microphone needs a page from https:// or from this computer.');
    }
    const stream = await navigator.mediaDevices
      .getUserMedia({audio: {channelCount: 1, ...AS_IT_IS}})
      .catch((error) => { throw new Error(REASONS[error.name] ?? error.message); });
    const context = new AudioContext(); // at the device's rate: Firefox refuses any other
    const microphone = new Microphone(stream, context);
    try {
      await context.audioWorklet.addModule('microphone-worklet.js');
      const node = new AudioWorkletNode(context, 'microphone');
      node.port.onmessage = ({data}) => heard(data);
      context.createMediaStreamSource(stream).connect(node).connect(context.destination);
    } catch (error) {
      microphone.close();
      throw new Error(REASONS[error.name] ?? error.message);
    }
    stream.getAudioTracks()[0].onended = lost;
    return microphone;
  }

  constructor(stream, context) {
    this.stream = stream;
    this.context = context;
  }

  get sampleRate() {
    return this.context.sampleRate;
  }

  close() {
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
  }
}

const REASONS = {
  NotAllowedError: 'The microphone was not allowed; allow it in the address bar.',
  NotFoundError: 'No microphone was found; plug one in.',
  NotReadableError: 'The microphone is in use by another program.',
};
