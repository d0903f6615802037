/** Keys and on-screen buttons → steering, gas and brake. */

const KEYS = {
  ArrowLeft: "left", KeyA: "left",
  ArrowRight: "right", KeyD: "right",
  ArrowUp: "gas", KeyW: "gas",
  ArrowDown: "brake", KeyS: "brake",
};
/** Keys that press a button which has the focus; held down here for as long as they are. */
const PRESSES = new Set(["Space", "Enter"]);
/** Full braking locks the wheels. */
const BRAKE = 0.8;
/** How fast a key turns the wheel, and how fast that turns back, per second. */
const TURN = 4;
const RETURN = 8;

/**
 * Listens within an element: keys count only while the focus is inside it.
 * Whatever is held is let go when the focus or the page is left.
 */
export class Controls {
  #held = new Map();
  #steering = 0;
  #before = null;
  #said = "";
  #listening = new AbortController();
  #onPress;

  /** @param {HTMLElement} area @param {() => void} onPress when something begins to be held */
  constructor(area, onPress) {
    this.#onPress = onPress;
    const { signal } = this.#listening;
    area.addEventListener("keydown", (event) => this.#key(event, true), { signal });
    area.addEventListener("keyup", (event) => this.#key(event, false), { signal });
    area.addEventListener("focusout", () => this.#letGo(), { signal });
    window.addEventListener("blur", () => this.#letGo(), { signal });
    for (const pad of area.querySelectorAll("[data-control]")) {
      const set = (down) => (event) => {
        if (down) pad.setPointerCapture(event.pointerId);
        this.#hold(event.pointerId, down ? pad.dataset.control : null);
      };
      pad.addEventListener("pointerdown", set(true), { signal });
      for (const up of ["pointerup", "pointercancel", "lostpointercapture"]) {
        pad.addEventListener(up, set(false), { signal });
      }
      // A button that is pressed would take the focus, and with it everything that is held.
      pad.addEventListener("mousedown", (event) => event.preventDefault(), { signal });
      // A long touch is a hand on the wheel, not a wish for a menu.
      pad.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
    }
  }

  /** Stop listening. */
  stop() {
    this.#listening.abort();
  }

  /** The controls at a moment, in milliseconds; null while they are what they were. */
  tick(now) {
    const passed = this.#before === null ? 0 : Math.min((now - this.#before) / 1000, 0.1);
    this.#before = now;
    const held = new Set(this.#held.values());
    const wanted = Number(held.has("right")) - Number(held.has("left"));
    const away = wanted - this.#steering;
    const step = passed * (wanted === 0 || wanted * this.#steering < 0 ? RETURN : TURN);
    this.#steering += Math.sign(away) * Math.min(Math.abs(away), step);
    const controls = {
      steering: Math.round(this.#steering * 100) / 100,
      gas: held.has("gas") ? 1 : 0,
      brake: held.has("brake") ? BRAKE : 0,
    };
    const said = JSON.stringify(controls);
    if (said === this.#said) return null;
    this.#said = said;
    return controls;
  }

  #key(event, down) {
    const pressed = PRESSES.has(event.code) ? event.target.dataset?.control : undefined;
    const control = pressed ?? KEYS[event.code];
    if (control === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    // The page must not scroll under the driver.
    event.preventDefault();
    if (!event.repeat) this.#hold(event.code, down ? control : null);
  }

  #hold(by, control) {
    if (control === null) {
      this.#held.delete(by);
      return;
    }
    this.#held.set(by, control);
    this.#onPress();
  }

  #letGo() {
    this.#held.clear();
  }
}
