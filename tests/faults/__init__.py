"""Faults: lists of them by class, and one runner that provokes each for real."""
