"""Lets ``python -m ndcli`` stand for ``ndengine``."""

from ndcli.main import main

if __name__ == "__main__":
    main(prog_name="ndengine")
