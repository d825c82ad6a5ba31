// A picture with a mask painted over it, by pointer or by keyboard. The mask has the picture's own size.

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TINT = "rgb(214 40 120)";

/** On `canvas`: `show(bitmap)`, `clear()`, `painted()`, and `blob()`, a PNG that is white where was painted. */
export function maskOn(canvas, brush) {
  const seen = canvas.getContext("2d");
  const mask = document.createElement("canvas");
  const tint = document.createElement("canvas");
  let bitmap = null;
  let any = false;
  let last = null; // where the pointer was, in pixels of the picture
  let spot = null; // where the keyboard's brush is

  function show(picture) {
    bitmap = picture;
    for (const each of [canvas, mask, tint]) Object.assign(each, { width: picture.width, height: picture.height });
    canvas.style.width = `min(100%, ${(60 * picture.width) / picture.height}vh)`; // a tall one stays on the screen
    spot = [picture.width / 2, picture.height / 2];
    clear();
  }

  function clear() {
    const paint = mask.getContext("2d");
    paint.fillStyle = "#000";
    paint.fillRect(0, 0, mask.width, mask.height);
    tint.getContext("2d").clearRect(0, 0, tint.width, tint.height);
    any = false;
    redraw();
  }

  function redraw() {
    if (!bitmap) return;
    seen.clearRect(0, 0, canvas.width, canvas.height);
    seen.drawImage(bitmap, 0, 0);
    seen.globalAlpha = 0.55;
    seen.drawImage(tint, 0, 0);
    seen.globalAlpha = 1;
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) ring();
  }

  /** Where the keyboard's brush is: a ring that is seen on any picture. */
  function ring() {
    for (const [colour, more] of [["#fff", 3], ["#000", 1.2]]) {
      seen.beginPath();
      seen.arc(spot[0], spot[1], width() / 2, 0, 2 * Math.PI);
      seen.strokeStyle = colour;
      seen.lineWidth = more * scale();
      seen.stroke();
    }
  }

  const scale = () => canvas.width / Math.max(1, canvas.clientWidth); // pixels of the picture in one of the screen
  const width = () => (Number(brush.value) / 100) * Math.max(canvas.width, canvas.height);

  function stroke(from, to) {
    for (const [layer, colour] of [[mask, "#fff"], [tint, TINT]]) {
      const paint = layer.getContext("2d");
      Object.assign(paint, { lineCap: "round", lineJoin: "round", lineWidth: width(), strokeStyle: colour });
      paint.beginPath();
      paint.moveTo(...from);
      paint.lineTo(to[0] + 0.01, to[1]); // a line without length may leave no dot
      paint.stroke();
    }
    any = true;
    redraw();
  }

  const place = (event) => [event.offsetX * scale(), event.offsetY * scale()];
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const now = place(event);
    stroke(last, now);
    last = now;
  });
  for (const over of ["pointerup", "pointercancel"]) canvas.addEventListener(over, () => (last = null));
  canvas.addEventListener("keydown", (event) => {
    if (event.key === " ") stroke(spot, spot);
    else if (event.key === "Delete" || event.key === "Backspace") clear();
    else if (KEYS[event.key]) {
      const [x, y] = KEYS[event.key];
      const step = width() / 2;
      const held = (value, most) => Math.min(most, Math.max(0, value));
      const next = [held(spot[0] + x * step, canvas.width), held(spot[1] + y * step, canvas.height)];
      if (event.shiftKey) stroke(spot, next);
      spot = next;
      redraw();
    } else return;
    event.preventDefault();
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, redraw);
  brush.addEventListener("input", redraw);

  return { show, clear, painted: () => any, blob: () => new Promise((give) => mask.toBlob(give, "image/png")) };
}
