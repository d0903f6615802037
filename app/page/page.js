/** The page: puts its parts together. What is to be driven stands in the address's hash. */

import { nextSeed, readWish, writeWish } from "./address.js";
import { CurveView } from "./curve.js";
import { Facts } from "./facts.js";
import { Live } from "./live.js";
import { Pickers } from "./pickers.js";
import { PolicyTable } from "./policy_table.js";
import { ServiceWatch } from "./service.js";
import { Takeaway } from "./takeaway.js";

const NEXT_AFTER_MS = 3000;

const at = (selector) => document.querySelector(selector);
const seed = at("#seed");
const pause = at("#pause");
const startButton = at("#start-button");

/** Nothing moves by itself for those who asked for that. */
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let wish = readWish(location.hash);
/** The newest start message. */
let track = null;
let news = null;
let paused = false;
let nextTimer = 0;
let nextIsDue = false;
/** Somebody has asked for the wheel of a track that has not begun yet. */
let wheelIsDue = false;
/** Somebody has written into the seed box what is not driven yet. */
let seedIsNew = false;

const curve = new CurveView(at("#curve"), at("#curve-note"));
const facts = new Facts(at("#facts"));
const takeaway = new Takeaway(at("#takeaway"));
const pickers = new Pickers(at("#policy"), at("#rival"), () => {
  drive({ ...pickers.choice, seed: chosenSeed() });
});
const table = new PolicyTable(at("#published"), (version) => {
  drive({ policy: version });
  at("#stage").scrollIntoView({ block: "nearest" });
});
const live = new Live(at("#lanes"), at("#lane-template"), {
  begin,
  over,
  idle: () => {
    startButton.hidden = false;
  },
  status: (text) => {
    at("#drive-status").textContent = text;
  },
});

/** Somebody wants this driven from now on; what is not said stays as it is. */
function drive(change) {
  const { policy, rival } = { ...wish, ...change };
  wheelIsDue = [policy, rival].includes("you");
  goOn(change);
}

/** Drive this, and leave the focus to whom it is with. */
function goOn(change) {
  clearTimeout(nextTimer);
  nextIsDue = false;
  wish = { ...wish, ...change };
  startButton.hidden = true;
  showWish();
  showPaused(false);
  writeWish(wish);
  live.drive(wish);
}

function showWish() {
  // Whoever is in it may be writing.
  if (document.activeElement !== seed) showSeed();
  pickers.choice = wish;
}

function showSeed() {
  seed.value = String(wish.seed);
  seedIsNew = false;
}

/** The seed in the box, if it is one. */
const chosenSeed = () => (seed.validity.valid ? seed.valueAsNumber : wish.seed);

function showPaused(value) {
  paused = value;
  pause.ariaPressed = String(value);
}

function togglePause() {
  showPaused(!paused);
  live.paused = paused;
  nextIfSeen();
}

const afterThis = () => ({ seed: nextSeed(wish.seed) });

/** A track begins. */
function begin(start) {
  track = start;
  startButton.hidden = true;
  const policy = start.lanes.find((lane) => lane.driver === "policy");
  if (policy) takeaway.offer(policy.policy, start.seed);
  // A track that is out of date may have none: it is due still.
  if (wheelIsDue && live.takeWheel()) wheelIsDue = false;
  showTrack();
}

/** What is shown of the track besides the drive itself. */
function showTrack() {
  if (track === null || news === null) return;
  const { lanes } = track;
  table.track(track.seed, lanes.map((lane) => lane.policy));
  facts.show(lanes.find((lane) => lane.driver === "policy") ?? {}, news);
  const known = [news.bundled, ...news.policies];
  curve.mark(lanes.flatMap((lane, index) => {
    const policy = known.find((each) => each?.version === lane.policy);
    return policy ? [{ iteration: policy.iteration, trial: policy.trial, plate: index + 1 }] : [];
  }));
}

/** A track is at its end: the next one follows, unless somebody wants it otherwise. */
function over(result) {
  const goesOn = !calm.matches;
  at("#drive-status").textContent = `Track ${track.seed}. ${result}.${goesOn ? " The next one follows." : ""}`;
  if (!goesOn) return;
  nextTimer = setTimeout(() => {
    nextIsDue = true;
    nextIfSeen();
  }, NEXT_AFTER_MS);
}

function nextIfSeen() {
  if (nextIsDue && !paused && !document.hidden) goOn(afterThis());
}

/** The service was looked at. */
function hear(heard) {
  news = heard;
  const state = at("#state");
  state.dataset.state = news.state;
  if (state.textContent !== news.text) state.textContent = news.text;
  pickers.offer(news);
  table.show(news);
  showTrack();
  if (news.state !== "ready") return;
  curve.follow(news.loaded.version);
  if (live.begun) return;
  if (calm.matches) startButton.hidden = false;
  else drive({});
}

at("#track").addEventListener("submit", (event) => {
  event.preventDefault();
  drive({ ...pickers.choice, seed: seed.valueAsNumber });
  showSeed();
});
seed.addEventListener("input", () => {
  seedIsNew = true;
});
seed.addEventListener("blur", () => {
  if (!seedIsNew) showSeed();
});
at("#next").addEventListener("click", () => drive(afterThis()));
pause.addEventListener("click", togglePause);
startButton.addEventListener("click", () => drive({}));
at("#yourself").addEventListener("click", () => drive({ rival: "you" }));
window.addEventListener("hashchange", () => drive(readWish(location.hash)));
document.addEventListener("visibilitychange", nextIfSeen);

showWish();
new ServiceWatch(hear).start();
