"""``python -m pyro_vaes``."""

from pyro_vaes.cli.app import main

if __name__ == "__main__":  # tools that write or test documentation import every module
    main()
