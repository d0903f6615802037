/** The live drive: tracks begin, are played, held and end; whoever drives by hand is listened to. */

import { driveUrl } from "./address.js";
import { Controls } from "./controls.js";
import { DriveSocket } from "./drive_socket.js";
import { number } from "./format.js";
import { Lane } from "./lane.js";
import { Playback } from "./playback.js";

/** Of the pictures that are asked for, in pixels: on a wide stage, as the simulator draws them. */
const WIDTH = { narrow: 480, wide: 600 };
const WIDE_FROM = 900;
/** Frames that wait to be shown: enough to be smooth; by hand, little enough to feel direct. */
const AHEAD = 6;
const AHEAD_BY_HAND = 2;
/** Frames between two words to the service about what was shown. */
const SAY_EVERY = 4;
const FULL_TIME = 1000;

const TO_START = "Hold ▲, W or Gas to start";

/** What the lane's driver is called. */
function nameOf(lane, asked) {
  if (lane.driver === "you") return "You";
  const known = { served: "Served", latest: "Latest", best: "Best", bundled: "Bundled" }[asked];
  const iteration = `iteration ${number(lane.iteration)}`;
  return known ? `${known} · ${iteration}` : `I${iteration.slice(1)}`;
}

function outcome({ lap_finished, frames }) {
  if (lap_finished) return "lap finished";
  return frames >= FULL_TIME ? "time is up" : "left the field";
}

export class Live {
  #stage;
  #template;
  #handlers;
  #socket;
  /** @type {import("./address.js").Wish | null} */
  #wish = null;
  #lanes = [];
  #names = [];
  /** @type {Playback | null} */
  #playback = null;
  /** @type {Controls | null} */
  #controls = null;
  #end = null;
  #said = 0;
  #paused = false;
  /** A driver by hand has not touched anything yet, and the track waits. */
  #armed = false;

  /**
   * @param {HTMLElement} stage where the lanes are put
   * @param {HTMLTemplateElement} template of a lane
   * @param {{begin: (start: object) => void, over: (result: string) => void, idle: () => void,
   *          status: (text: string) => void}} handlers
   *   idle: the service has ended a drive that stood still, and waits to be asked again
   */
  constructor(stage, template, handlers) {
    this.#stage = stage;
    this.#template = template;
    this.#handlers = handlers;
    this.#socket = new DriveSocket(() => driveUrl(this.#wish, this.#width), {
      message: (message) => this.#message(message),
      picture: (picture) => this.#playback?.add(picture),
      status: handlers.status,
      lost: (idle) => this.#lost(idle),
    });
    document.addEventListener("visibilitychange", () => this.#revive());
    requestAnimationFrame((now) => this.#paint(now));
  }

  /** Whether a drive was asked for. */
  get begun() {
    return this.#wish !== null;
  }

  /** Drive this, at once. @param {import("./address.js").Wish} wish */
  drive(wish) {
    this.#wish = { ...wish };
    this.#paused = false;
    this.#clear();
    const { seed, policy, rival } = wish;
    if (!this.#socket.say({ type: "track", seed, policy, rival: rival || null })) {
      this.#socket.connect();
    }
  }

  /** Hold the drive, or let it go on. */
  set paused(paused) {
    this.#paused = paused;
    this.#hold();
    this.#revive();
  }

  /** Give the keys to who drives by hand. @returns whether anybody does */
  takeWheel() {
    const own = this.#lanes.find((lane) => lane.screen.tabIndex === 0);
    own?.screen.focus();
    return own !== undefined;
  }

  get #width() {
    return this.#stage.clientWidth < WIDE_FROM ? WIDTH.narrow : WIDTH.wide;
  }

  get #held() {
    return this.#paused || this.#armed;
  }

  #hold() {
    this.#socket.say({ type: "pause", paused: this.#held });
  }

  /** Connect again, where the service has ended a drive that somebody looks at now. */
  #revive() {
    if (!document.hidden && !this.#held && this.#wish !== null && !this.#socket.alive) {
      this.#socket.connect();
    }
  }

  #message(message) {
    if (message.type === "start") this.#begin(message);
    if (message.type === "end") {
      this.#end = message;
      this.#playback?.end();
    }
  }

  #begin(start) {
    this.#clear();
    const byHand = start.lanes.findIndex((lane) => lane.driver === "you");
    const { policy, rival } = this.#wish;
    this.#names = start.lanes.map((lane, index) => nameOf(lane, index === 0 ? policy : rival));
    this.#arrange(start.lanes.length);
    this.#stage.classList.toggle("by-hand", byHand >= 0);
    this.#lanes.forEach((lane, index) => {
      lane.begin({
        width: start.width,
        height: start.height,
        name: this.#names[index],
        version: start.lanes[index].policy ?? "Arrow keys, W A S D, or the buttons",
        byHand: index === byHand,
      });
    });
    this.#playback = new Playback(start.lanes.length, byHand < 0 ? AHEAD : AHEAD_BY_HAND);
    if (byHand >= 0) {
      this.#controls = new Controls(this.#lanes[byHand].element, () => this.#disarm());
      this.#armed = true;
      this.#lanes[byHand].note(TO_START);
    }
    this.#hold();
    this.#handlers.status(this.#paused ? "Paused" : "");
    this.#handlers.begin(start);
  }

  /** As many lanes as that; those that are there stay, and with them the focus. */
  #arrange(count) {
    while (this.#lanes.length > count) this.#lanes.pop().element.remove();
    while (this.#lanes.length < count) {
      const lane = new Lane(this.#template, this.#lanes.length);
      this.#lanes.push(lane);
      this.#stage.append(lane.element);
    }
  }

  #lost(idle) {
    if (idle) {
      // Of a track that is over its result is still to be read.
      if (this.#playback !== null) {
        this.#handlers.status("The service has ended a drive that stood still.");
        for (const lane of this.#lanes) lane.note("");
      }
      this.#handlers.idle();
    }
    this.#clear();
  }

  #disarm() {
    if (!this.#armed) return;
    this.#armed = false;
    for (const lane of this.#lanes) lane.note("");
    this.#hold();
    this.#revive();
  }

  #clear() {
    this.#playback?.stop();
    this.#playback = null;
    this.#controls?.stop();
    this.#controls = null;
    this.#end = null;
    this.#said = 0;
    this.#armed = false;
  }

  #paint(now) {
    requestAnimationFrame((next) => this.#paint(next));
    const playback = this.#playback;
    if (playback === null) return;
    const controls = this.#controls?.tick(now);
    if (controls) this.#socket.say({ type: "controls", ...controls });
    playback.advance(now, this.#held).forEach((picture, index) => {
      if (picture !== null) this.#lanes[index].show(picture);
    });
    if (playback.seen >= this.#said + SAY_EVERY) {
      this.#said = playback.seen;
      this.#socket.say({ type: "seen", frame: playback.seen });
    }
    if (this.#end !== null && playback.finished) this.#finish(this.#end);
  }

  #finish({ lanes }) {
    this.#clear();
    const results = lanes.map((lane) => `${number(lane.return)}, ${outcome(lane)}`);
    this.#lanes.forEach((lane, index) => lane.note(results[index]));
    this.#handlers.over(results.map((result, index) => `${this.#names[index]}: ${result}`).join("; "));
  }
}
