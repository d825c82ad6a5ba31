// The microphone as a WAV file: mono, 16 bits, 16 kHz, which is what speech models hear.

import { Unusable } from "./media.js";

const RATE = 16_000; // Hz
export const LONGEST = 30; // seconds: what the model hears of a sound

/** Ask for the microphone and record until `stop()`, which answers with a File, or `cancel()`. Raises Unusable. */
export async function record() {
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    throw new Unusable("The microphone can be used over https or on this machine itself, in a recent browser.");
  }
  const stream = await microphone();
  const context = new AudioContext();
  const blocks = [];
  const release = () => {
    for (const track of stream.getTracks()) track.stop();
    return context.close();
  };
  try {
    await context.audioWorklet.addModule("tap.js");
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => blocks.push(data);
    context.createMediaStreamSource(stream).connect(tap);
    await context.resume();
  } catch {
    await release();
    throw new Unusable("The microphone cannot be heard. Try again, or in another browser.");
  }
  return {
    cancel: release,
    async stop() {
      const rate = context.sampleRate;
      await release();
      const samples = await resampled(joined(blocks), rate);
      return new File([wav(samples)], "Recording.wav", { type: "audio/wav" });
    },
  };
}

async function microphone() {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    const words = {
      NotAllowedError: "The microphone is not allowed. Allow it in the address bar, then try again.",
      NotFoundError: "There is no microphone.",
      NotReadableError: "Another program holds the microphone.",
    };
    throw new Unusable(words[error.name] ?? "The microphone cannot be opened.");
  }
}

function joined(blocks) {
  const all = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    all.set(block, at);
    at += block.length;
  }
  return all;
}

/** (samples) at `rate` Hz -> at 16 kHz, at most 30 s; the browser's own resampler keeps frequencies above 8 kHz out. */
async function resampled(samples, rate) {
  if (samples.length < rate / 10) throw new Unusable("That was too short to hear. Speak a little longer.");
  const offline = new OfflineAudioContext(1, Math.ceil((samples.length * RATE) / rate), RATE);
  const buffer = offline.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(samples, 0);
  const source = offline.createBufferSource();
  source.buffer = buffer;
  source.connect(offline.destination);
  source.start();
  return (await offline.startRendering()).getChannelData(0).subarray(0, LONGEST * RATE);
}

/** RIFF/WAVE of 16-bit PCM (IBM and Microsoft 1991). */
function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // size of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true); // bytes a second
  view.setUint16(32, 2, true); // bytes a frame
  view.setUint16(34, 16, true); // bits
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((s, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, s)) * 0x7fff, true));
  return view.buffer;
}
