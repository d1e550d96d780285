"""Texts that a lane writes: each token is chosen by the logits of the one before, and is the next step."""
