"""Teach a car to drive CarRacing-v3 from pixels: environment → training → store → policy."""
