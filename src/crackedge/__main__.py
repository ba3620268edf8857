"""``python -m crackedge`` is ``crackedge``."""

from crackedge.cli import main

main()
