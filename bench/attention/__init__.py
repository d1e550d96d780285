"""Generation beside others, same weights and same prompts: `python -m bench attention`.

Each of them writes in a process of its own, `workers/`, of which those that run in a peer's environment import nothing
of the project.
"""
