/** The table of published policies. */

import { filmPath } from "./address.js";
import { age, element, number, phase } from "./format.js";

export class PolicyTable {
  #body;
  #note;
  #onWatch;
  #rows = new Map();
  #seed = 0;

  /**
   * @param {HTMLElement} region that holds the table
   * @param {(version: string) => void} onWatch puts a policy at the wheel
   */
  constructor(region, onWatch) {
    this.#body = region.querySelector("tbody");
    this.#note = region.querySelector("p");
    this.#onWatch = onWatch;
  }

  /** Show these. @param {import("./service.js").News} news */
  show({ policies, bundled, total, best }) {
    const all = bundled ? [...policies, bundled] : policies;
    const rows = all.map((policy) =>
      this.#rows.get(policy.version) ?? this.#row(policy, policy === bundled));
    this.#rows = new Map(rows.map((row) => [row.policy.version, row]));
    this.#arrange(rows.map(({ line }) => line));
    const scores = new Map(policies.map((policy) => [policy.version, policy.validation]));
    for (const { policy, when, score } of rows) {
      when.textContent = age(policy.created_at);
      // It comes some time after the policy.
      const validation = scores.get(policy.version);
      score.textContent = validation ? number(validation.mean) : "—";
      score.title = validation ? `Mean of ${validation.episodes} tracks` : "Not validated";
      score.classList.toggle("best", policy.version === best);
    }
    if (total === 0) this.#note.textContent = "Nothing is published yet.";
    else if (total <= policies.length) this.#note.textContent = "";
    else this.#note.textContent = `The newest ${policies.length} of ${number(total)}.`;
  }

  /** Link to the films of this track, and mark who drives on it. */
  track(seed, versions) {
    this.#seed = seed;
    for (const { policy, line, film } of this.#rows.values()) {
      film.href = filmPath(policy.version, seed, "gif");
      line.classList.toggle("driving", versions.includes(policy.version));
    }
  }

  /** Put these lines into the table; those that are there stay, and with them the focus. */
  #arrange(lines) {
    const wanted = new Set(lines);
    for (const line of [...this.#body.children]) {
      if (!wanted.has(line)) line.remove();
    }
    let place = this.#body.firstElementChild;
    for (const line of lines) {
      if (line === place) place = place.nextElementSibling;
      else this.#body.insertBefore(line, place);
    }
  }

  #row(policy, isBundled) {
    const { version, iteration } = policy;
    const name = `iteration ${number(iteration)}`;
    const when = element("td");
    const score = element("td");
    const watch = element("button", {
      type: "button",
      textContent: "Watch",
      ariaLabel: `Watch ${name}`,
      onclick: () => this.#onWatch(version),
    });
    const film = element("a", {
      textContent: "GIF",
      ariaLabel: `GIF of ${name}`,
      href: filmPath(version, this.#seed, "gif"),
    });
    const line = element(
      "tr",
      { title: version },
      element("th", { scope: "row", textContent: number(iteration) + (isBundled ? " (bundled)" : "") }),
      element("td", { textContent: phase(policy.phase) }),
      score,
      when,
      element("td", { className: "watch" }, watch, film),
    );
    return { policy, line, when, score, film };
  }
}
