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
    "Return in training": number(policy.mean_return, 1),
    "Decisions sampled": number(policy.env_steps),
    Age: age(policy.created_at),
  };
}

/**
 * Show them.
 * @param {HTMLElement} section
 * @param {{policy?: string, source?: string}} lane of a start message
 * @param {import("./service.js").News} news
 */
export function showFacts(section, lane, { loaded, bundled, policies }) {
  const known = [loaded, bundled, ...policies].find((policy) => policy?.version === lane.policy);
  const facts = known ? factsOf(known, lane.source === "bundled") : { Version: lane.policy ?? "—" };
  section.querySelector("dl").replaceChildren(
    ...Object.entries(facts).map(([name, value]) =>
      element(
        "div",
        {},
        element("dt", { textContent: name }),
        element("dd", { textContent: value }),
      )),
  );
  section.querySelector("p").textContent = loaded?.last_error
    ? `A newer policy is not loaded: ${loaded.last_error}`
    : "";
}
