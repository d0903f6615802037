/** What the service says about its policies, asked again every few seconds. */

const LOOK_EVERY_MS = 4000;
/** As many as the service lists. */
const LISTED = 100;

/** The service answered, and said why not. */
class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** What an address of the service answers; raises Refusal, or TypeError where nothing does. */
async function ask(path) {
  const answer = await fetch(path);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(answer.status, body.detail ?? `status ${answer.status}`);
  return body;
}

/**
 * What is known of the service.
 * @typedef {object} News
 * @property {"ready" | "wait" | "lost"} state
 * @property {string} text the state in words
 * @property {object | null} loaded the served policy, as `GET policy` answers
 * @property {object | null} bundled what is served while storage has nothing
 * @property {object[]} policies the published ones, newest first
 * @property {number} total how many there are
 */

const inWords = (policy) =>
  policy.source === "bundled"
    ? "Ready: the bundled policy drives until one is published"
    : `Ready: iteration ${policy.iteration} is the newest`;

export class ServiceWatch {
  #onNews;
  #known = "";
  /** @type {News} */
  #news = { state: "wait", text: "", loaded: null, bundled: null, policies: [], total: 0 };

  /** @param {(news: News) => void} onNews called after every look */
  constructor(onNews) {
    this.#onNews = onNews;
  }

  /** Look, now and ever again while the page is visible. */
  async start() {
    if (!document.hidden) {
      this.#news = { ...this.#news, ...(await this.#look()) };
      this.#onNews(this.#news);
    }
    setTimeout(() => this.start(), LOOK_EVERY_MS);
  }

  async #look() {
    try {
      // One policy tells whether the list has changed, which is long.
      const { total, loaded, policies } = await ask("policies?limit=1");
      const known = JSON.stringify([total, loaded, policies[0]?.version]);
      const list = known === this.#known ? {} : await ask(`policies?limit=${LISTED}`);
      this.#known = known;
      const about = { policies: list.policies, bundled: list.bundled, total };
      if (list.policies === undefined) {
        delete about.policies;
        delete about.bundled;
      }
      if (loaded === null) return { ...about, state: "wait", text: "No policy published yet", loaded };
      const policy = await ask("policy");
      return { ...about, state: "ready", text: inWords(policy), loaded: policy };
    } catch (error) {
      return {
        state: "lost",
        text: error instanceof Refusal
          ? `The service cannot answer: ${error.message}`
          : "The service does not answer",
      };
    }
  }
}
