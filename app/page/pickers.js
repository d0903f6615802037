/** The two pickers: who drives, and against whom. */

import { element, number } from "./format.js";

const label = (policy, runs) =>
  [
    `Iteration ${number(policy.iteration)}`,
    ...(policy.validation ? [`score ${number(policy.validation.mean)}`] : []),
    ...(runs > 1 ? [policy.run] : []),
  ].join(" · ");

export class Pickers {
  #selects;
  #shown = "";

  /**
   * @param {HTMLSelectElement} policy
   * @param {HTMLSelectElement} rival
   * @param {() => void} onPick when a person has chosen
   */
  constructor(policy, rival, onPick) {
    this.#selects = { policy, rival };
    for (const select of [policy, rival]) select.addEventListener("change", onPick);
    this.offer({ policies: [], bundled: null });
  }

  /** What is chosen. @returns {{policy: string, rival: string}} */
  get choice() {
    const { policy, rival } = this.#selects;
    return { policy: policy.value, rival: rival.value };
  }

  /** Choose, also what is not on offer (yet): a link may name it. */
  set choice(choice) {
    for (const [name, select] of Object.entries(this.#selects)) {
      if ([...select.options].every((option) => option.value !== choice[name])) {
        select.append(new Option(choice[name], choice[name]));
      }
      select.value = choice[name];
    }
  }

  /** Offer these policies. @param {import("./service.js").News} news */
  offer({ policies, bundled }) {
    const offered = policies.map(({ version, validation }) => [version, validation?.mean]);
    const signature = JSON.stringify([offered, bundled?.version]);
    // An open list must not change under the pointer without need.
    if (signature === this.#shown) return;
    this.#shown = signature;
    const { choice } = this;
    const runs = new Set(policies.map((policy) => policy.run)).size;
    for (const [name, select] of Object.entries(this.#selects)) {
      select.replaceChildren(
        ...(name === "rival" ? [new Option("Nobody", ""), new Option("You", "you")] : []),
        new Option("Served policy", "served"),
        new Option("Latest policy", "latest"),
        new Option("Best policy", "best"),
        ...(bundled ? [new Option("Bundled policy", "bundled")] : []),
        ...(policies.length > 0 ? [this.#group(policies, runs)] : []),
      );
    }
    this.choice = { policy: choice.policy || "served", rival: choice.rival };
  }

  #group(policies, runs) {
    const options = policies.map((policy) => new Option(label(policy, runs), policy.version));
    return element("optgroup", { label: "Published, with their validation score" }, ...options);
  }
}
