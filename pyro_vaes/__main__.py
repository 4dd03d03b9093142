"""``python -m pyro_vaes``."""

from pyro_vaes.cli.app import main

main()
