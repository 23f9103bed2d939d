package multicast

import (
	"github.com/scatter-vm/scatter/multicast/congestion"
	"github.com/scatter-vm/scatter/multicast/receiver"
	"github.com/scatter-vm/scatter/multicast/sender"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// What the two state machines have to say to an engine has its name here, too.

type (
	// ChannelID is the engine's number of a channel.
	ChannelID = wire.ChannelID
	// Channel is a set of targets that get the same blocks.
	Channel = sender.Channel
	// Stats is what a Sender has done so far.
	Stats = sender.Stats
	// TargetStats is what a Sender knows of a target.
	TargetStats = sender.TargetStats
	// ReceiverStats is what a Receiver has seen so far.
	ReceiverStats = receiver.Stats
)

const (
	// MaxBlock is the largest payload of a block, in bytes.
	MaxBlock = wire.MaxBlock
	// MinWindow is the smallest window that a target may have, in bytes: the least one is what all have.
	MinWindow = sender.MinWindow
	// DefaultSlowRatio is the default of SenderConfig.SlowRatio.
	DefaultSlowRatio = sender.DefaultSlowRatio
	// StartRate is where a rate that finds itself begins, in bytes per second.
	StartRate = congestion.StartRate
)

var (
	// ErrUnreachable says that a target hears neither multicast nor unicast.
	ErrUnreachable = sender.ErrUnreachable
	// ErrSilent says that a target has stopped reporting.
	ErrSilent = sender.ErrSilent
	// ErrNoMembers says that a channel has no live members.
	ErrNoMembers = sender.ErrNoMembers
	// ErrUnknown says that a target or channel is not known, or is closed.
	ErrUnknown = sender.ErrUnknown
	// ErrStuck says that a target has all of a block for long and does not place it.
	ErrStuck = sender.ErrStuck
	// ErrInsatiable says that a target has had a block sent again and again, and still lacks it.
	ErrInsatiable = sender.ErrInsatiable
	// ErrKeyless says that a target does not take the key that is to be used from now on.
	ErrKeyless = sender.ErrKeyless
	// ErrProtocol says that a target does not keep to the protocol.
	ErrProtocol = sender.ErrProtocol
	// ErrPlacement says that a target could not place a block; the text is the target's.
	ErrPlacement = sender.ErrPlacement
)
