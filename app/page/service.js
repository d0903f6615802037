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
 * @property {"latest" | "best"} follow which one is served
 * @property {string | null} best version with the highest validation score
 */

const inWords = (policy, follow) =>
  policy.source === "bundled"
    ? "Ready: the bundled policy drives until one is published"
    : `Ready: iteration ${policy.iteration} is the ${follow}`;

export class ServiceWatch {
  #onNews;
  #known = "";
  /** @type {News} */
  #news = {
    state: "wait", text: "", follow: "latest", loaded: null, bundled: null, policies: [], total: 0, best: null,
  };

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
      const { loaded, ...list } = await this.#list();
      // Asked for in vain, it would be an error in the browser's console.
      const policy = loaded === null ? null : await ask("policy");
      return policy === null
        ? { ...list, state: "wait", text: "No policy published yet", loaded: null }
        : { ...list, state: "ready", text: inWords(policy, list.follow ?? this.#news.follow), loaded: policy };
    } catch (error) {
      // The list may have come, and goes with the rest of this look.
      this.#known = "";
      const why = error instanceof Refusal ? `cannot drive: ${error.message}` : "does not answer";
      return { state: "lost", text: `The service ${why}` };
    }
  }

  /** What has changed in the list of policies, and which one is loaded. */
  async #list() {
    try {
      // One policy tells whether the list has changed, which is long.
      const { total, validated, loaded, follow, best, policies } = await ask("policies?limit=1");
      const known = JSON.stringify([total, validated, loaded, best, policies[0]]);
      if (known === this.#known) return { loaded };
      const list = await ask(`policies?limit=${LISTED}`);
      this.#known = known;
      return { loaded, total, follow, best, policies: list.policies, bundled: list.bundled };
    } catch (error) {
      // Storage is away; what is loaded may drive all the same.
      if (error instanceof Refusal) return {};
      throw error;
    }
  }
}
