#!/bin/bash
# fuzz.sh TIME fuzzes each fuzz target of the module for TIME, one after the other.
set -euo pipefail

readonly duration=${1:?time for each target, such as 5s}

grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sort | while IFS=: read -r file _ func; do
	target=${func#func }
	echo "fuzz: $(dirname "$file") $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "$(dirname "$file")"
done
