"""Look for what is wrong before a run does."""
