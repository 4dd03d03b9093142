"""``python -m pyro_vaes``."""

from pyro_vaes.cli import main

main()
