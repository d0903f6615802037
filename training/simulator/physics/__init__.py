"""Car, track and contacts, with the same results as Gymnasium to the bit."""
