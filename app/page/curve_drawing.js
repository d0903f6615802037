/** Draws a training curve as SVG. */

import { number, phase } from "./format.js";

const WELL_DRIVEN = 900;
const MARGIN = { top: 24, right: 14, bottom: 40, left: 48 };
const HEIGHT = 320;
/** Lines of fewer points than this show each of them. */
const FEW = 30;

/**
 * @typedef {object} Curve columns of equal length, as `GET curve.json` answers
 * @property {string} trial
 * @property {number | null} finetune_at
 * @property {number[]} iteration
 * @property {string[]} phase
 * @property {(number | null)[]} return_min
 * @property {(number | null)[]} return_mean
 * @property {(number | null)[]} return_max
 */

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Round numbers from low to high, about as many as wanted. */
function ticks(low, high, wanted) {
  const rough = Math.max((high - low) / wanted, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.floor((high - first) / step) + 1 }, (_, k) => first + k * step);
}

/** Indices in runs, interrupted where a column knows nothing. */
function runs(column) {
  const found = [];
  column.forEach((value, index) => {
    if (value === null) return;
    if (index === 0 || column[index - 1] === null) found.push([]);
    found.at(-1).push(index);
  });
  return found;
}

/** Where numbers are in a drawing of a width, for a curve. */
function scales({ iteration, return_min, return_max }, width) {
  const known = [...return_min, ...return_max].filter((value) => value !== null);
  const low = Math.min(0, ...known);
  const high = Math.max(WELL_DRIVEN + 50, ...known);
  const [first, last] = [iteration[0], Math.max(iteration.at(-1), iteration[0] + 1)];
  const right = width - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  return {
    low, high, first, last, right, bottom,
    x: (value) => MARGIN.left + ((value - first) / (last - first)) * (right - MARGIN.left),
    y: (value) => bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top),
  };
}

const path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;

function axes({ low, high, first, last, right, bottom, x, y }) {
  const text = (content, attributes) => svg("text", attributes, content);
  return [
    ...ticks(low, high, 5).flatMap((value) => [
      svg("path", { class: "grid", d: path([[MARGIN.left, y(value)], [right, y(value)]]) }),
      text(number(value), { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }),
    ]),
    ...ticks(first, last, 6).map((value) =>
      text(number(value), { x: x(value), y: bottom + 18, "text-anchor": "middle" })),
    text("training iteration", { x: right, y: HEIGHT - 4, "text-anchor": "end" }),
    text("return", { x: 0, y: 11 }),
    svg("path", {
      class: "well",
      d: path([[MARGIN.left, y(WELL_DRIVEN)], [right, y(WELL_DRIVEN)]]),
    }),
    text("900, a lap well driven", { class: "well", x: MARGIN.left + 6, y: y(WELL_DRIVEN) - 5 }),
  ];
}

function lines(curve, { x, y }) {
  const { iteration, return_min, return_mean, return_max } = curve;
  const along = (column) => (index) => [x(iteration[index]), y(column[index])];
  const bands = runs(return_mean).map((run) =>
    svg("path", {
      class: "band",
      d: `${path([...run.map(along(return_max)), ...run.toReversed().map(along(return_min))])}Z`,
    }));
  const means = runs(return_mean).map((run) =>
    svg("path", { class: "mean", d: path(run.map(along(return_mean))) }));
  const points = iteration.length >= FEW ? [] : runs(return_mean).flat().map((index) => {
    const [cx, cy] = along(return_mean)(index);
    return svg("circle", { class: "point", cx, cy, r: 2.5 });
  });
  return [...bands, ...means, ...points];
}

function switchLine({ finetune_at: at }, { first, last, right, bottom, x }) {
  if (at === null || at < first || at > last) return [];
  const left = x(at) > (right + MARGIN.left) / 2;
  return [
    svg("path", { class: "switch", d: path([[x(at), MARGIN.top], [x(at), bottom]]) }),
    svg(
      "text",
      { class: "switch", x: x(at) + (left ? -6 : 6), y: bottom - 8, "text-anchor": left ? "end" : "start" },
      `fine-tuning after ${number(at)}`,
    ),
  ];
}

/** Whoever drives, on the curve. */
function drivers(curve, driving, { x, y, bottom }) {
  return driving.flatMap(({ iteration, plate }) => {
    const index = curve.iteration.indexOf(iteration);
    const mean = curve.return_mean[index] ?? null;
    if (mean === null) return [];
    const [cx, cy] = [x(iteration), y(mean)];
    return [
      svg("path", { class: `driver lane-${plate}`, d: path([[cx, cy], [cx, bottom]]) }),
      svg("circle", { class: `driver lane-${plate}`, cx, cy, r: 9 }),
      svg("text", { class: "plate", x: cx, y: cy + 4, "text-anchor": "middle" }, String(plate)),
    ];
  });
}

/** The curve in words. */
function words({ iteration, phase: phases, return_mean, finetune_at }) {
  const known = return_mean.filter((value) => value !== null);
  return [
    `Iterations ${iteration[0]} to ${iteration.at(-1)}, now ${phase(phases.at(-1))}.`,
    known.length > 0
      ? `The mean return is ${number(known.at(-1))} at the end and ${number(Math.max(...known))} at best.`
      : "No episode has ended yet.",
    ...(finetune_at === null ? [] : [`Fine-tuning begins after iteration ${finetune_at}.`]),
  ].join(" ");
}

/**
 * A drawing of a curve.
 * @param {Curve} curve with one iteration at least
 * @param {number} width in pixels
 * @param {{iteration: number, plate: number}[]} driving whom to mark on it
 */
export class Drawing {
  #curve;
  #scales;

  constructor(curve, width, driving) {
    this.#curve = curve;
    this.#scales = scales(curve, width);
    /** @type {SVGElement} */
    this.element = svg(
      "svg",
      {
        viewBox: `0 0 ${width} ${HEIGHT}`,
        role: "img",
        "aria-labelledby": "curve-name",
        "aria-describedby": "curve-words",
      },
      svg("title", { id: "curve-name" }, "Return per training iteration"),
      svg("desc", { id: "curve-words" }, words(curve)),
      ...axes(this.#scales),
      ...lines(curve, this.#scales),
      ...switchLine(curve, this.#scales),
      ...drivers(curve, driving, this.#scales),
    );
  }

  /** Draw a line at the iteration that is nearest to a place, in pixels. @returns its index */
  point(place) {
    const { iteration } = this.#curve;
    const { x, bottom } = this.#scales;
    const away = iteration.map((value) => Math.abs(x(value) - place));
    const index = away.indexOf(Math.min(...away));
    const at = x(iteration[index]);
    this.unpoint();
    this.element.append(svg("path", { class: "guide", d: path([[at, MARGIN.top], [at, bottom]]) }));
    return index;
  }

  /** Take that line away. */
  unpoint() {
    this.element.querySelector(".guide")?.remove();
  }
}
