// The picture below the player of the same container. It moves the player, and follows it.

const HEIGHT = 96;
const GAP = 8;
const LANE = 24;
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300];

const drawn = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  return element;
};

const made = (tag, className, text = "") => {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
};

const clock = (seconds) => {
  const minutes = Math.floor(seconds / 60);
  const rest = seconds - 60 * minutes;
  return minutes ? `${minutes}:${String(Math.floor(rest)).padStart(2, "0")}` : `${rest.toFixed(1)} s`;
};

const waveform = ({ low, high }, width) => {
  const x = (k) => ((k / Math.max(low.length, 1)) * width).toFixed(2);
  const y = (value) => ((1 - value) * HEIGHT / 2).toFixed(2);
  const above = high.map((value, k) => `${x(k)},${y(value)} ${x(k + 1)},${y(value)}`);
  const below = low.map((value, k) => `${x(k + 1)},${y(value - 0.01)} ${x(k)},${y(value - 0.01)}`);
  return drawn("polygon", { class: "wave", points: [...above, ...below.reverse()].join(" ") });
};

const picture = (data, width) => {
  const lanes = data.rows.length;
  const height = HEIGHT + (lanes ? GAP + lanes * LANE : 0);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
  svg.append(waveform(data, width));
  data.rows.forEach((_, row) => {
    const y = HEIGHT + GAP + (row + 0.5) * LANE;
    svg.append(drawn("line", { class: "lane", x1: 0, x2: width, y1: y, y2: y }));
  });
  const scale = width / data.seconds;
  data.parts.filter((part) => part.row >= 0).forEach((part) => {
    const bar = drawn("rect", {
      class: part.uncertain ? "uncertain" : "heard",
      x: part.start * scale + 0.5,
      width: Math.max((part.end - part.start) * scale - 1, 1),
      y: HEIGHT + GAP + part.row * LANE + 5,
      height: LANE - 10,
      rx: 2,
    });
    if (!part.uncertain) bar.setAttribute("fill-opacity", (0.35 + 0.65 * part.confidence).toFixed(2));
    svg.append(bar);
  });
  return svg;
};

const axis = (seconds, width) => {
  const ticks = made("div", "ticks");
  ticks.setAttribute("aria-hidden", "true");
  const step = STEPS.find((each) => (each / seconds) * width >= 56) ?? STEPS.at(-1);
  for (let at = 0; at < seconds - 0.8 * step; at += step) {
    const tick = made("span", "", clock(at));
    tick.style.left = `${(100 * at) / seconds}%`;
    ticks.append(tick);
  }
  const end = made("span", "", clock(seconds));
  end.style.left = "100%";
  ticks.append(end);
  return ticks;
};

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".waveform");
  root.stop?.abort();
  root.stop = new AbortController();
  const { signal } = root.stop;

  const plot = made("div", "plot");
  const cursor = made("div", "cursor");
  const now = made("p", "now");
  Object.entries({
    tabindex: 0,
    role: "slider",
    "aria-label": "Position in the recording",
    "aria-valuemin": 0,
    "aria-valuemax": data.seconds.toFixed(1),
  }).forEach(([name, value]) => plot.setAttribute(name, value));

  const names = made("div", "names");
  data.rows.forEach((label) => names.append(made("div", "", label)));
  let width = 0;
  const draw = () => {
    const available = Math.round(plot.clientWidth);
    if (!available || available === width) return;
    width = available;
    plot.replaceChildren(picture(data, width), cursor);
    root.querySelector(".ticks")?.remove();
    plot.after(axis(data.seconds, width));
  };
  const parts = data.rows.length ? [names, plot] : [plot];
  root.style.gridTemplateColumns = data.rows.length ? "max-content minmax(0, 1fr)" : "0 minmax(0, 1fr)";
  root.style.columnGap = data.rows.length ? "10px" : "0";
  const hints = ["Click the picture, or focus it and use the arrow keys, to move the player."];
  if (data.parts.some((part) => part.uncertain)) hints.push("Dashed: uncertain.");
  root.replaceChildren(...parts, now, made("p", "hint", hints.join(" ")));

  const player = () => document.querySelector(".st-key-player audio");
  const words = (at) => {
    const part = data.parts.find((each) => each.start <= at && at <= each.end);
    if (!part) return clock(at);
    if (part.row < 0) return `${clock(at)}, silence`;
    const sure = part.uncertain ? "uncertain, leans to " : "";
    return `${clock(at)}, ${sure}${data.rows[part.row]} ${Math.round(100 * part.confidence)}%`;
  };
  let position = 0;
  const show = (at) => {
    position = Math.min(Math.max(at, 0), data.seconds);
    cursor.style.left = `${(100 * position) / data.seconds}%`;
    plot.setAttribute("aria-valuenow", position.toFixed(1));
    plot.setAttribute("aria-valuetext", words(position));
    now.textContent = words(position);
  };
  const seek = (at) => {
    show(at);
    const audio = player();
    if (audio) audio.currentTime = position;
  };
  const follow = () => {
    const audio = player();
    if (signal.aborted || !audio) return;
    show(audio.currentTime);
    if (!audio.paused && !audio.ended) requestAnimationFrame(follow);
  };

  // Media events do not bubble, but the document sees them on their way down.
  ["play", "seeked", "timeupdate", "loadedmetadata"].forEach((event) =>
    document.addEventListener(event, (e) => e.target === player() && follow(), {
      capture: true,
      signal,
    }),
  );
  const pointed = (e) => {
    const box = plot.getBoundingClientRect();
    seek((data.seconds * (e.clientX - box.left)) / box.width);
  };
  plot.addEventListener("pointerdown", (e) => {
    plot.setPointerCapture(e.pointerId);
    pointed(e);
  }, { signal });
  plot.addEventListener("pointermove", (e) => e.buttons && pointed(e), { signal });
  const step = Math.max(0.1, data.seconds / 50);
  const moves = {
    ArrowRight: () => position + step,
    ArrowUp: () => position + step,
    ArrowLeft: () => position - step,
    ArrowDown: () => position - step,
    PageUp: () => position + 5 * step,
    PageDown: () => position - 5 * step,
    Home: () => 0,
    End: () => data.seconds,
  };
  plot.addEventListener("keydown", (e) => {
    const audio = player();
    if (e.key === " " && audio) {
      e.preventDefault();
      if (audio.paused) audio.play();
      else audio.pause();
    } else if (moves[e.key]) {
      e.preventDefault();
      seek(moves[e.key]());
    }
  }, { signal });

  const resized = new ResizeObserver(draw);
  resized.observe(plot);
  signal.addEventListener("abort", () => resized.disconnect());
  draw();
  show(player()?.currentTime ?? 0);
  return () => root.stop.abort();
}
