"""headrace.server: wire → sequences → scheduler → engine → journal → reply."""
