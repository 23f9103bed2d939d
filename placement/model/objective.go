package model

// Objective is what a placement is to make small; traffic decides between those that are equal.
type Objective uint8

// Objectives.
const (
	LeastTraffic Objective = iota // bytes on all links
	LeastTime                     // until the slowest link is done
	FewestHosts
)
