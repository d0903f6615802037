/** The page's addresses: what its own says about the drive, and what it asks the service for. */

export const SEED_LIMIT = 2 ** 31 - 1;

/**
 * What is to be driven.
 * @typedef {{seed: number, policy: string, rival: string}} Wish
 *   policy: served, latest, best, bundled, you or a version; rival: the same, or "" for none.
 */

/** The wish of an address's hash; what is missing or makes no sense is as usual. @returns {Wish} */
export function readWish(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const seed = /^\d{1,10}$/.test(said.get("seed") ?? "") ? Number(said.get("seed")) : 0;
  return {
    seed: seed <= SEED_LIMIT ? seed : 0,
    policy: said.get("policy") || "served",
    rival: said.get("rival") || "",
  };
}

/** Put the wish into the page's address, so that a link to it shows the same. @param {Wish} wish */
export function writeWish({ seed, policy, rival }) {
  const said = new URLSearchParams({ seed, policy });
  if (rival) said.set("rival", rival);
  history.replaceState(null, "", `#${said}`);
}

/** The seed after this one. */
export const nextSeed = (seed) => (seed >= SEED_LIMIT ? 0 : seed + 1);

/** Where the service is: the page's folder, which need not be the root of its host. */
export const serviceUrl = () => new URL(".", location.href);

/** The drive's WebSocket. @param {Wish} wish @param {number} width of the pictures, in pixels */
export function driveUrl({ seed, policy, rival }, width) {
  const query = new URLSearchParams({ mode: "live", seed, policy, width });
  if (rival) query.set("rival", rival);
  const url = new URL(`drive?${query}`, serviceUrl());
  url.protocol = url.protocol.replace("http", "ws");
  return url;
}

/** The permanent film of a policy's drive. @param {"gif" | "webp"} ending */
export const filmPath = (version, seed, ending) =>
  `gif/${encodeURIComponent(version)}/${seed}.${ending}`;
