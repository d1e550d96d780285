"""Models with caches: keys and values stay where they are, and each tick adds cells to them in place."""
