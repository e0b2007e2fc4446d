"""``python -m kppstat``."""

from kppstat.cli import main

main()
