"""Servers of the bundled policy, as other frameworks' documentation would have them written."""
