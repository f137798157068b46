"""`python -m service.cli`: the same as `genrelay`, for whoever knows only the interpreter."""

from service.cli import main

main()
