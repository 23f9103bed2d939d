// Package groups decides which multicast groups carry which target sets, and in what order, so that few bytes reach
// hosts that do not need them and few hosts join and leave.
//
//	target sets --choose--> groups --sequence--> one order --lanes--> order of sending, joins and leaves
//
// # Carriage
//
// Every target set is carried in one of four ways, whichever is cheapest under Prices: by a group of exactly its hosts;
// by a group of more hosts, which hear it in vain; by a group of most of its hosts and unicast copies to the others; by
// unicast copies to all. At most Limits.Groups groups are used.
//
// # Lanes
//
// A lane is one multicast address whose membership follows the group that is sent on it. Hosts that need two groups one
// after the other stay joined; only those that need one of the two leave or join. So the changes of a lane whose groups
// are S1, S2, ... are |S1| + |S1 xor S2| + |S2 xor S3| + ... , the length of a path of Hamming distances from the empty
// set to the empty set, however many groups there are. With an address for each group they would be 2|S1| + 2|S2| + ....
//
// What makes that real on a network:
//
//   - A host belongs to a lane or not; there are at most Limits.Memberships lanes, so no host has more memberships, not
//     even while joins and leaves overlap.
//   - A host's membership changes only between two groups of the lane. When a group has been sent, the hosts that need the
//     lane's next one join; when it has been confirmed, those that do not need the next one leave.
//   - Lanes are sent in turn. All this happens on one lane while another is being sent, so neither the latency of a join
//     nor that of a leave costs time. Group.Opens is the group at whose beginning the joins are to be issued.
//   - Each group is a channel of its own, with a number in every datagram. What reaches a host on a lane's address that
//     belongs to a group it is no member of, because it joined early, left late or its switch is slow to prune, is
//     dropped by that number. Cost.Overheard says how many bytes that is.
//
// More lanes rest longer between two groups, so less is overheard; but each begins and ends empty, which costs changes.
// The number of lanes is the cheapest under Prices. Where Delay is zero, that is one.
//
// The caller opens the channel of a group before it closes that of the group before it on the lane: then the hosts of
// both stay joined.
//
// # Guarantees
//
// Solve knows no clock, and no source of randomness but Problem.Seed: the same problem has the same plan, in whatever
// order its sets are listed. Up to twelve groups are ordered optimally.
package groups
