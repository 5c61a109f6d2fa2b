"""Checkpoints that a crash cannot tear, and what they need to hold for an exact resume."""
