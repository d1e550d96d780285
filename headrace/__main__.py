"""`python -m headrace` is `headrace`."""

from .cli import main

main()
