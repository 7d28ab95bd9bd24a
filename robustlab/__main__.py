"""``python -m robustlab`` is the command line."""

from robustlab.cli import main

raise SystemExit(main())
