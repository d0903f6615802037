/** What is known of the policy at the wheel. */

import { age, element, number, phase } from "./format.js";

/** The facts of a policy by name. */
function factsOf(policy, bundled) {
  return {
    Version: policy.version,
    Run: policy.run,
    Trial: policy.trial,
    Recipe: policy.recipe,
    "Comes from": bundled ? "the service itself" : "storage",
    Iteration: number(policy.iteration),
    Phase: phase(policy.phase),
    "Validation score": policy.validation
      ? `${number(policy.validation.mean, 1)} over ${policy.validation.episodes} tracks`
      : "none yet",
    "Return in training": number(policy.mean_return, 1),
    "Decisions sampled": number(policy.env_steps),
    Age: age(policy.created_at),
  };
}

export class Facts {
  #section;
  #shown = "";

  /** @param {HTMLElement} section with a list and a note */
  constructor(section) {
    this.#section = section;
  }

  /**
   * Show those of a lane's policy.
   * @param {{policy?: string, source?: string}} lane of a start message
   * @param {import("./service.js").News} news
   */
  show(lane, { loaded, bundled, policies }) {
    const known = [...policies, loaded, bundled].find((policy) => policy?.version === lane.policy);
    const facts = known ? factsOf(known, lane.source === "bundled") : { Version: lane.policy ?? "—" };
    const shown = JSON.stringify(facts);
    // What somebody has selected stays selected.
    if (shown !== this.#shown) this.#list(facts);
    this.#shown = shown;
    this.#section.querySelector("p").textContent = loaded?.last_error
      ? `A newer policy is not loaded: ${loaded.last_error}`
      : "";
  }

  #list(facts) {
    const rows = Object.entries(facts).map(([name, value]) => {
      const term = element("dt", { textContent: name });
      return element("div", {}, term, element("dd", { textContent: value }));
    });
    this.#section.querySelector("dl").replaceChildren(...rows);
  }
}
