"""`python -m align.cli`, for where the script is not on the path."""

from align.cli import main

raise SystemExit(main())
