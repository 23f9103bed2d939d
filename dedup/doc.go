// Package dedup finds equal pages among the RAM of many VMs.
//
// A Layout numbers the pages of every RAM block. Scan reads them once and keeps one keyed hash for each: a Look. Two
// Looks make an Index: pages that changed in between are hot and left out, the others are grouped into contents (equal
// pages) and the contents into classes (the same set of owner VMs).
//
//	regions --NewLayout--> Layout --Scan--> Look, Look --NewIndex--> Index --Classes, Contents--> plan and send
//	                                                                   '-----Held--> what each target page holds
//
// The hash only proposes. Guests choose their bytes and go on running, so the owners of a content must be compared with
// SplitEqual at the moment they are sent. Pages of different domains never share a content, whatever their bytes.
//
// Memory: a Look takes 8 bytes a page. NewIndex consumes its looks and works within their memory plus 4 bytes a page and
// small tables; looks, building and finished Index together stay below 24 bytes a page. The package does no I/O.
package dedup
