/** The WebSocket of a drive: opens it, keeps it open, and reads what comes. */

const HEADER_BYTES = 40;
const PICTURE = 1;
/** Codes from here on are the drive's own: all but one say that this drive cannot be had. */
const REFUSED = 4400;
const NO_TOKEN = 4401;
const IDLE = 4408;
const TRY_LATER = 1013;
const LONGEST_WAIT_S = 15;

/**
 * A picture of a lane, and the car's state in it.
 * @typedef {object} Picture
 * @property {number} lane
 * @property {boolean} over the lane's episode ends with this picture
 * @property {number} frame simulator frames driven, of 50 per second
 * @property {number} steering from -1 to 1
 * @property {number} gas from 0 to 1
 * @property {number} brake from 0 to 1
 * @property {number} speed world units per second
 * @property {number} score the return so far
 * @property {number} tilesLeft
 * @property {number} tiles of the track
 * @property {Blob} jpeg
 * @property {Blob | null} eyes what the policy sees, where that has changed
 */

/** Read a binary message, `<BBHIffffffHHI` and one or two JPEG pictures. @returns {Picture | null} */
export function readPicture(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < HEADER_BYTES || view.getUint8(0) !== PICTURE) return null;
  const float = (offset) => view.getFloat32(offset, true);
  const eyesAt = HEADER_BYTES + view.getUint32(36, true);
  const blob = (from, to) => new Blob([buffer.slice(from, to)], { type: "image/jpeg" });
  return {
    lane: view.getUint8(1),
    over: (view.getUint16(2, true) & 1) === 1,
    frame: view.getUint32(4, true),
    steering: float(8),
    gas: float(12),
    brake: float(16),
    speed: float(20),
    score: float(24),
    tilesLeft: view.getUint16(32, true),
    tiles: view.getUint16(34, true),
    jpeg: blob(HEADER_BYTES, eyesAt),
    eyes: eyesAt < buffer.byteLength ? blob(eyesAt, buffer.byteLength) : null,
  };
}

/**
 * One connection at a time. It comes back by itself after the network or the service was away, but
 * not when the service refused what was asked for, or closed it because nothing went on.
 */
export class DriveSocket {
  #address;
  #handlers;
  #socket = null;
  #failures = 0;
  #retry = 0;

  /**
   * @param {() => URL} address asked for each time, as wishes change
   * @param {{message: (message: object) => void, picture: (picture: Picture) => void,
   *          status: (text: string) => void, lost: (idle: boolean) => void}} handlers
   *   lost: there is no connection any more; idle: as nothing went on
   */
  constructor(address, handlers) {
    this.#address = address;
    this.#handlers = handlers;
  }

  /** Whether there is a connection, or one is on its way. */
  get alive() {
    return this.#socket !== null || this.#retry !== 0;
  }

  /** Connect anew. A connection that is being made is made first, and left if it is out of date. */
  connect() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    const before = this.#socket;
    if (before?.readyState === WebSocket.CONNECTING) return;
    const url = this.#address();
    const socket = new WebSocket(url);
    this.#socket = socket;
    before?.close();
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (this.#address().href !== url.href) this.connect();
    };
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#read(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#closed(code, reason);
    };
    if (this.#failures === 0) this.#handlers.status("Connecting…");
  }

  /** Send a message; false where there is no open connection. */
  say(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #read(data) {
    this.#failures = 0;
    if (typeof data === "string") {
      this.#handlers.message(JSON.parse(data));
      return;
    }
    const picture = readPicture(data);
    if (picture !== null) this.#handlers.picture(picture);
  }

  #closed(code, reason) {
    this.#socket = null;
    if (code === NO_TOKEN) {
      this.#handlers.status(
        "The service asks for its token: reload the page and sign in, with the token as the " +
        "password. The browser has to let this page keep a cookie.",
      );
    } else if (code >= REFUSED && code !== IDLE) {
      this.#handlers.status(`The service refuses this drive: ${reason}`);
    } else if (code !== IDLE) {
      this.#retryLater(code === TRY_LATER ? `Not now: ${reason}` : "The connection is lost");
    }
    this.#handlers.lost(code === IDLE);
  }

  #retryLater(why) {
    const least = Math.min(2 ** this.#failures, LONGEST_WAIT_S);
    this.#failures += 1;
    // Not all who were cut off come back at the same moment.
    const wait = least * (1 + Math.random() / 2);
    this.#handlers.status(`${why}; trying again in ${Math.ceil(wait)} s.`);
    this.#retry = setTimeout(() => this.connect(), wait * 1000);
  }
}
