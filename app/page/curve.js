/** The training curve of `curve.json`, drawn again while it grows. */

import { Drawing } from "./curve_drawing.js";
import { number } from "./format.js";

const REFRESH_MS = 5000;
const LEGEND =
  "Mean return of the episodes that each training iteration ended, within the band from the lowest " +
  "to the highest.";

export class CurveView {
  #frame;
  #note;
  #etag = "";
  /** @type {import("./curve_drawing.js").Curve | null} */
  #curve = null;
  #driving = [];
  /** @type {Drawing | null} */
  #drawing = null;
  #visible = false;
  /** Version of the served policy, and of one whose run has no curve. */
  #version = null;
  #without = null;

  /** @param {HTMLElement} frame to draw in @param {HTMLElement} note beneath it */
  constructor(frame, note) {
    this.#frame = frame;
    this.#note = note;
    new ResizeObserver(() => this.#draw()).observe(frame);
    new IntersectionObserver(([{ isIntersecting }]) => {
      this.#visible = isIntersecting;
      if (isIntersecting) this.refresh();
    }).observe(frame);
    frame.addEventListener("pointermove", (event) => this.#point(event));
    frame.addEventListener("pointerleave", () => this.#unpoint());
    setInterval(() => {
      if (this.#visible && !document.hidden) this.refresh();
    }, REFRESH_MS);
  }

  /** Show the curve of the served policy's run from now on. @param {string} version */
  follow(version) {
    if (version === this.#version) return;
    this.#version = version;
    this.refresh();
  }

  /** Mark who drives. @param {{iteration: number, trial: string, plate: number}[]} driving */
  mark(driving) {
    if (JSON.stringify(driving) === JSON.stringify(this.#driving)) return;
    this.#driving = driving;
    this.#draw();
  }

  /** Ask for the curve, and draw it where it has changed. */
  async refresh() {
    const version = this.#version;
    if (version === this.#without) return;
    try {
      const answer = await fetch("curve.json");
      const body = await answer.json();
      if (!answer.ok) {
        if (answer.status === 404) this.#without = version;
        this.#note.textContent = body.detail;
        // The same curve as before is to take this note away again.
        this.#etag = "";
        return;
      }
      const etag = answer.headers.get("ETag");
      if (etag === this.#etag) return;
      this.#etag = etag;
      this.#curve = body;
      this.#note.textContent = LEGEND;
      this.#draw();
    } catch {
      // The state line says that the service does not answer.
    }
  }

  #draw() {
    const curve = this.#curve;
    const width = this.#frame.clientWidth;
    if (curve === null || curve.iteration.length === 0 || width === 0) return;
    const driving = this.#driving.filter(({ trial }) => trial === curve.trial);
    this.#drawing = new Drawing(curve, width, driving);
    this.#frame.replaceChildren(this.#drawing.element);
  }

  /** Read the curve off under the pointer. */
  #point({ clientX }) {
    if (this.#drawing === null) return;
    const { iteration, return_min, return_mean, return_max } = this.#curve;
    const index = this.#drawing.point(clientX - this.#frame.getBoundingClientRect().left);
    const [low, mean, high] = [return_min, return_mean, return_max].map((column) => column[index]);
    this.#note.textContent = mean === null
      ? `Iteration ${number(iteration[index])}: no episode had ended.`
      : `Iteration ${number(iteration[index])}: mean ${number(mean)}, from ${number(low)} to ${number(high)}.`;
  }

  #unpoint() {
    if (this.#drawing === null) return;
    this.#drawing.unpoint();
    this.#note.textContent = LEGEND;
  }
}
