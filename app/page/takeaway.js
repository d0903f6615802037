/** Links and snippets for exactly this drive. */

import { filmPath, serviceUrl } from "./address.js";

/** Commands that fetch the film of a policy's drive. */
function snippets(version, seed) {
  const service = serviceUrl().href;
  return {
    curl: `curl -o drive-${seed}.gif '${service}${filmPath(version, seed, "gif")}'`,
    python: [
      "from pathlib import Path",
      "",
      "from app.client import Client",
      "",
      `with Client("${service}") as client:`,
      `    film = client.gif(${seed}, policy="${version}")`,
      `Path("drive-${seed}.gif").write_bytes(film)`,
    ].join("\n"),
  };
}

export class Takeaway {
  #at;

  /** @param {HTMLElement} section */
  constructor(section) {
    this.#at = (selector) => section.querySelector(selector);
    for (const button of section.querySelectorAll("[data-copies]")) {
      button.addEventListener("click", () => this.#copy(button.dataset.copies));
    }
  }

  /** Offer a policy's drive. */
  offer(version, seed) {
    this.#at("#takeaway-note").hidden = true;
    this.#at("#takeaway-body").hidden = false;
    this.#at("#gif-link").href = filmPath(version, seed, "gif");
    this.#at("#webp-link").href = filmPath(version, seed, "webp");
    for (const [name, text] of Object.entries(snippets(version, seed))) {
      this.#at(`#${name}`).textContent = text;
    }
    this.#at("#copied").textContent = "";
  }

  async #copy(name) {
    const code = this.#at(`#${name}`);
    try {
      await navigator.clipboard.writeText(code.textContent);
      this.#at("#copied").textContent = "Copied.";
    } catch {
      // Without TLS a browser gives no clipboard.
      getSelection().selectAllChildren(code);
      this.#at("#copied").textContent = "Selected; copy it with Ctrl-C or a long touch.";
    }
  }
}
