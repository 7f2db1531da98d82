#!/bin/bash
# The bare-metal guests: see test/bare/README.md.
exec "$(dirname "$0")/../bare/run.sh" "$@"
