/** The clock of a track: shows what arrives, a little later, at the simulator's own pace. */

const SIMULATOR_FPS = 50;
/** A page that was not painted for longer goes on from where it was. */
const LONGEST_STEP_S = 0.1;
/** Bounds of the pace, 1 being the simulator's. */
const SLOWEST = 0.2;
const FASTEST = 1.3;

/** A lane's pictures that were decoded and wait for their moment. */
class Reel {
  queue = [];
  newest = -1;
  shown = -1;
  over = false;
  #decoding = 0;
  #last = Promise.resolve();

  /** Whether everything that came was shown. */
  get drained() {
    return this.#decoding === 0 && this.shown === this.newest;
  }

  /** Decode at once, and queue in the order of arrival. */
  add(picture, stopped) {
    this.#decoding += 1;
    const decoded = Promise.all([
      createImageBitmap(picture.jpeg),
      picture.eyes && createImageBitmap(picture.eyes),
    ]);
    this.#last = Promise.all([decoded, this.#last]).then(
      ([[bitmap, eyes]]) => {
        this.#decoding -= 1;
        if (stopped()) {
          bitmap.close();
          eyes?.close();
          return;
        }
        this.queue.push({ ...picture, bitmap, eyes });
        this.newest = picture.frame;
        this.over ||= picture.over;
      },
      // A picture that cannot be read is left out.
      () => {
        this.#decoding -= 1;
      },
    );
  }

  /** The picture to show at a position, if it is another one than before. */
  take(position) {
    let picture = null;
    while (this.queue.length > 0 && this.queue[0].frame <= position) {
      const skipped = picture;
      picture = this.queue.shift();
      skipped?.bitmap.close();
      // The policy looks less often than pictures are taken: what it saw must not be skipped.
      if (picture.eyes === null) picture.eyes = skipped?.eyes ?? null;
      else skipped?.eyes?.close();
    }
    if (picture !== null) this.shown = picture.frame;
    return picture;
  }

  empty() {
    for (const { bitmap, eyes } of this.queue.splice(0)) {
      bitmap.close();
      eyes?.close();
    }
  }
}

/**
 * Plays the lanes of one track side by side. Positions are simulator frames. It begins when
 * `ahead` frames wait, and goes at the simulator's pace as long as they do: faster where more wait,
 * slower where fewer do, so that a service that is late is seen in slow motion, not in jerks.
 */
export class Playback {
  #reels;
  #ahead;
  #position = 0;
  #before = null;
  #rolling = false;
  #ended = false;
  #stopped = false;

  /** @param {number} lanes how many @param {number} ahead frames that should wait */
  constructor(lanes, ahead) {
    this.#reels = Array.from({ length: lanes }, () => new Reel());
    this.#ahead = ahead;
  }

  /** Take a picture in. @param {import("./drive_socket.js").Picture} picture */
  add(picture) {
    this.#reels[picture.lane]?.add(picture, () => this.#stopped);
  }

  /** Nothing more will come. */
  end() {
    this.#ended = true;
  }

  /** Forget everything. */
  stop() {
    this.#stopped = true;
    for (const reel of this.#reels) reel.empty();
  }

  /** Up to which frame everything was shown in the lanes that are still driven. */
  get seen() {
    const driven = this.#reels.filter((reel) => !reel.over);
    return driven.length > 0
      ? Math.min(...driven.map((reel) => reel.shown))
      : Math.max(...this.#reels.map((reel) => reel.shown));
  }

  /** Whether all was shown. */
  get finished() {
    return this.#ended && this.#reels.every((reel) => reel.drained);
  }

  /**
   * Go on to a moment.
   * @param {number} now in milliseconds
   * @param {boolean} held the clock stands still
   * @returns what is to be painted: for each lane a picture, or null
   */
  advance(now, held) {
    const passed = this.#before === null ? 0 : (now - this.#before) / 1000;
    this.#before = now;
    const driven = this.#reels.filter((reel) => !reel.over);
    const complete = this.#ended || driven.length === 0;
    const end = complete
      ? Math.max(...this.#reels.map((reel) => reel.newest))
      : Math.min(...driven.map((reel) => reel.newest));
    const waiting = end - this.#position;
    this.#rolling ||= complete || waiting >= this.#ahead;
    if (this.#rolling && !held && waiting > 0) {
      const pace = complete ? 1 : Math.min(Math.max(waiting / this.#ahead, SLOWEST), FASTEST);
      const step = Math.min(passed, LONGEST_STEP_S) * SIMULATOR_FPS * pace;
      this.#position += Math.min(step, waiting);
    }
    return this.#reels.map((reel) => reel.take(this.#position));
  }
}
