"""Plans, runs, checks and publishes the notebooks; no notebook imports this."""

import sys

# What nbformat checks notebooks with would compile a grammar of internet addresses, more than a
# second in each process; no notebook's schema has one. None stands for what is not installed.
sys.modules.setdefault("rfc3987_syntax", None)
