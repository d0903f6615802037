"""Which published policies of a run are kept."""

from __future__ import annotations

import logging
from collections.abc import Collection

from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.validation_scores import best_first

logger = logging.getLogger(__name__)


def prune(store: PolicyStore, run: str, *, keep: int, spare: Collection[PolicyRef]) -> None:
    """Delete the policies of a run but its newest ones, with what was left of others before.

    What ``latest.json`` and ``best.json`` name stays, and so does the run's policy with the highest
    validation score. Whoever reads one of those that go finishes, or misses it as one that was
    never there.

    Args:
        store: Where they are published, by this process alone.
        run: The run; others' policies are not touched.
        keep: How many of the newest stay.
        spare: Those that stay besides.

    Raises:
        ValueError: ``keep`` is below 1.
        BrokenPolicyError: Which policy is the latest, or the best, cannot be told.
        OSError: Storage is away; the next time deletes what was to go.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}; it must be at least 1")
    found = store.listing(run=run)
    newest = found.policies[:keep]
    if len(newest) < keep:
        return
    kept = {PolicyRef(run=run, version=manifest.version) for manifest in newest} | set(spare)
    kept.update(best_first(found.validations)[:1])
    listed = {PolicyRef(run=run, version=manifest.version) for manifest in found.policies}
    oldest = min(manifest.version for manifest in newest)
    # What a deletion or a publication left that was cut short; versions sort by iteration.
    left = {ref for ref in found.unfinished if ref.version < oldest}
    for ref in sorted((listed | left) - kept, key=lambda ref: ref.version):
        # Asked for last, since somebody else may promote one at any time.
        if ref in (store.latest_ref(), store.best_ref()):
            continue
        store.delete(ref)
        logger.info("deleted policy %s: the newest %d are kept", ref.version, keep)
