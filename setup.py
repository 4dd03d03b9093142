"""The metadata that setup.cfg cannot hold: the long description and addresses, which depend on the repository.

PyPI shows README.md outside the repository, where relative links lead nowhere. A release therefore names the address of
the repository in the environment, ``PYRO_VAES_REPOSITORY``; without it the links stay as they are.
"""

import os
import re
from pathlib import Path

from setuptools import setup

repository = os.environ.get("PYRO_VAES_REPOSITORY", "").rstrip("/")
description = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
if repository:
    description = re.sub(r"(!\[[^]]*\]\()(?!\w+:|#)", rf"\1{repository}/raw/main/", description)
    description = re.sub(r"(\]\()(?!\w+:|#)", rf"\1{repository}/blob/main/", description)

setup(
    long_description=description,
    long_description_content_type="text/markdown",
    project_urls={"Source": repository, "Changelog": f"{repository}/blob/main/CHANGELOG.md"} if repository else {},
)
