"""Run the program with `python -m fanous`."""

import sys

from fanous.program import main

sys.exit(main())
