package sender

import "errors"

var (
	// ErrUnreachable says that a target hears neither multicast nor unicast.
	ErrUnreachable = errors.New("target hears neither multicast nor unicast")
	// ErrSilent says that a target has stopped reporting.
	ErrSilent = errors.New("target has stopped reporting")
	// ErrNoMembers says that a channel has no live members.
	ErrNoMembers = errors.New("channel has no live members")
	// ErrUnknown says that a target or channel is not known, or is closed.
	ErrUnknown = errors.New("unknown target or channel")
	// ErrStuck says that a target has all of a block for long and does not place it.
	ErrStuck = errors.New("target does not place what it has")
	// ErrInsatiable says that a target has had a block sent again and again, and still lacks it.
	ErrInsatiable = errors.New("target lacks what it was sent many times")
	// ErrKeyless says that a target does not take the key that is to be used from now on.
	ErrKeyless = errors.New("target does not take the next key")
	// ErrProtocol says that a target does not keep to the protocol.
	ErrProtocol = errors.New("target does not keep to the protocol")
	// ErrPlacement says that a target could not place a block; the text is the target's.
	ErrPlacement = errors.New("target could not place a block")
)

// Why a member of a group is served by unicast.
var (
	errDeaf    = errors.New("no probe came through the group")
	errRefused = errors.New("the group could not be joined")
	errSilent  = errors.New("the group has gone silent")
	errSlow    = errors.New("the group is too fast for it")
)
