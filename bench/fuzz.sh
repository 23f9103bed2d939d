#!/bin/bash
# fuzz.sh TIME fuzzes each fuzz target of the module for TIME, one after the other.
set -euo pipefail

readonly duration=${1:?time for each target, such as 5s}

fuzz() {
	local dir=$1 target=$2 output
	if output=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "$dir" 2>&1); then
		echo "fuzz: $dir $target: $(grep -oE 'execs: [0-9]+' <<<"$output" | tail -1)"
	elif grep -q '^ *context deadline exceeded$' <<<"$output" && ! grep -q 'Failing input' <<<"$output"; then
		echo "fuzz: $dir $target: ran out of time while it stopped" # Go reports this as a failure of the target
	else
		echo "$output"
		return 1
	fi
}

grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sort | while IFS=: read -r file _ func; do
	fuzz "$(dirname "$file")" "${func#func }"
done
