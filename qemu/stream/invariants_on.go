//go:build invariants

package stream

// invariants switches checks on that cost time: borrowed bytes are overwritten as soon as the loan ends.
const invariants = true
