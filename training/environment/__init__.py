"""Simulator → what the network sees; its outputs → controls; seeds and vector environments."""
