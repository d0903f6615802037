/** A lane: the car seen from above, what the policy sees, instruments. */

/** The lowest part of the simulator's picture repeats what the panel shows, and is left out. */
const SHOWN = 7 / 8;
const KMH = 3.6;
/** Frames between two updates of figures, which are to be read, and of what assistive software asks. */
const FIGURES_EVERY = 8;
const SPOKEN_EVERY = 50;

const whole = (value) => Math.round(value).toLocaleString();

export class Lane {
  #view;
  #brush;
  #eyes;
  #note;
  #figures;
  #gauges;
  #covered;
  #figuresAt = 0;
  #spokenAt = 0;

  /** @param {HTMLTemplateElement} template @param {number} index from 0 */
  constructor(template, index) {
    /** The lane's element. @type {HTMLElement} */
    this.element = template.content.firstElementChild.cloneNode(true);
    const at = (selector) => this.element.querySelector(selector);
    this.element.dataset.lane = String(index);
    at(".plate").textContent = String(index + 1);
    /** Where the focus goes for driving. @type {HTMLElement} */
    this.screen = at(".screen");
    this.#view = at(".view");
    this.#brush = this.#view.getContext("2d");
    this.#eyes = at(".eyes");
    this.#note = at(".note");
    this.#covered = at(".progress span");
    this.#figures = {
      score: at(".return dd"),
      speed: at(".speed dd"),
      tiles: at(".tiles dd"),
    };
    this.#gauges = [at(".steering"), at(".gas"), at(".brake")];
  }

  /**
   * A new track begins.
   * @param {{width: number, height: number, name: string, version: string, byHand: boolean}} track
   *   width and height of its pictures in pixels; byHand: this browser drives
   */
  begin({ width, height, name, version, byHand }) {
    const { element, screen } = this;
    element.querySelector(".name").textContent = name;
    element.querySelector(".version").textContent = version;
    element.querySelector(".pads").hidden = !byHand;
    element.classList.toggle("own", byHand);
    this.#eyes.hidden = byHand;
    this.#view.ariaLabel = `The car from above, driven by ${name}`;
    // Set to what it is already, it would be wiped.
    if (this.#view.width !== width) this.#view.width = width;
    const shown = Math.round(height * SHOWN);
    if (this.#view.height !== shown) this.#view.height = shown;
    if (byHand) {
      screen.tabIndex = 0;
      screen.role = "application";
      screen.ariaLabel = "Driving area: arrow keys or W, A, S and D drive the car";
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) screen.removeAttribute(name);
    }
    this.#figuresAt = this.#spokenAt = 0;
    this.note("");
  }

  /** Say something over the picture; "" says nothing. */
  note(text) {
    this.#note.textContent = text;
    this.#note.hidden = text === "";
  }

  /** Show a picture and the car's state in it. */
  show({ frame, over, steering, gas, brake, speed, score, tilesLeft, tiles, bitmap, eyes }) {
    this.#brush.drawImage(bitmap, 0, 0);
    bitmap.close();
    if (eyes) {
      this.#eyes.width = eyes.width;
      this.#eyes.height = eyes.height;
      this.#eyes.getContext("2d").drawImage(eyes, 0, 0);
      eyes.close();
    }
    this.element.dataset.frame = String(frame);
    const readings = [steering, gas, brake];
    this.#gauges.forEach((gauge, index) => {
      gauge.firstElementChild.style.transform = `scaleX(${readings[index]})`;
    });
    this.#covered.style.transform = `scaleX(${tiles > 0 ? 1 - tilesLeft / tiles : 0})`;
    if (frame >= this.#figuresAt || over) {
      this.#figuresAt = frame + FIGURES_EVERY;
      this.#figures.score.textContent = whole(score);
      this.#figures.speed.textContent = `${whole(speed * KMH)} km/h`;
      this.#figures.tiles.textContent = `${tilesLeft} of ${tiles}`;
    }
    if (frame >= this.#spokenAt || over) {
      this.#spokenAt = frame + SPOKEN_EVERY;
      this.#gauges.forEach((gauge, index) => {
        gauge.ariaValueNow = readings[index].toFixed(2);
      });
    }
  }
}
