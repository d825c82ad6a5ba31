// Files that people show, as parts of a message.

const LONGEST_SIDE = 1280; // pixels: no model here sees more of a picture, and it travels with every question
const MOST_BYTES = 1_000_000; // a smaller picture is sent as it is
const MOST_SOUND_BYTES = 10_000_000;
const AS_THEY_ARE = ["image/png", "image/jpeg"]; // of others, which may move, the first frame
const SOUNDS = { "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3" };

/** A file cannot be shown; the message says why. */
export class Unusable extends Error {}

/** A file as {kind, name, url, part}: what the page shows, and the message part that the model gets. */
export async function shown(file) {
  if (file.type.startsWith("image/")) return picture(file);
  if (file.type.startsWith("audio/") || /\.(wav|mp3)$/i.test(file.name)) return sound(file);
  throw new Unusable(`${file.name || "That"} is neither a picture nor a sound.`);
}

async function picture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Unusable(`${file.name || "That picture"} cannot be opened: it is damaged, or of a kind this browser does not know.`);
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const asItIs = scale === 1 && file.size <= MOST_BYTES && AS_THEY_ARE.includes(file.type);
  const blob = asItIs ? file : await smaller(bitmap, scale, file.type);
  bitmap.close();
  const part = { type: "image_url", image_url: { url: await dataUrl(blob) } };
  return { kind: "picture", name: file.name || "Picture", url: URL.createObjectURL(blob), part };
}

function smaller(bitmap, scale, type) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const kind = type === "image/jpeg" ? "image/jpeg" : "image/png"; // others may be transparent
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Unusable("The picture cannot be made smaller."))), kind, 0.9);
  });
}

/** A recording or sound file as a part. */
export async function sound(file, name = file.name) {
  const format = SOUNDS[file.type] ?? file.name?.match(/\.(wav|mp3)$/i)?.[1].toLowerCase();
  if (!format) throw new Unusable(`${name} is of a kind that is not heard here: use WAV or MP3.`);
  if (file.size > MOST_SOUND_BYTES) throw new Unusable(`${name} is too large: ${MOST_SOUND_BYTES / 1e6} MB are the most.`);
  if (!file.size) throw new Unusable(`${name} is empty.`);
  const data = (await dataUrl(file)).split(",", 2)[1];
  return { kind: "sound", name, url: URL.createObjectURL(file), part: { type: "input_audio", input_audio: { data, format } } };
}

/** A blob as a `data:` address. */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Unusable("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
}
