"""Other servers beside this one, the same model and the same load: `python -m bench peers`.

Each peer has a file here: how its environment is made, what it is told, how it starts and stops. What runs inside a
peer (`*_model.py`, `kept.py`) imports nothing of the project.
"""
