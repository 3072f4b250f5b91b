"""`python -m perturbkit` is the command line."""

from perturbkit.cli.main import main

main()
