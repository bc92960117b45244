"""`python -m graphtf`."""

from graphtf.cli import main

raise SystemExit(main())
