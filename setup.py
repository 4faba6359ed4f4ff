"""Which folders are packages; everything else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    package_dir={"ndcli": "cli/ndcli"},
    packages=[*find_packages(include=["ndkernels*", "ndengine*"]), *find_packages("cli")],
)
