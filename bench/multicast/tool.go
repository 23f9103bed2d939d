package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/scatter-vm/scatter/bench/lab/cache"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// tool is something that gets a file to many targets.
type tool struct {
	name     string
	receive  func(t transfer, i int) []string // command of target i
	send     func(t transfer) []string        // command of the source
	ready    string                           // what a receiver prints when it listens; "": it needs a moment
	complete string                           // what a receiver prints when it has all; "": it has when its file has its size
	file     string                           // where the receiver puts the payload, in its directory
	stays    bool                             // the receiver does not end by itself
	reuses   bool                             // the receiver writes over a file that is there
	shares   bool                             // each target gets bytes of its own: a part of the payload is enough to see the rate
}

// transfer is a job with all that the tools need to know.
type transfer struct {
	cell
	source  *lan.Host
	targets []*lan.Host
	payload string // file at the source
	size    int64
	dir     string // holds a directory for each target
	own     string // this program
	tls     string // holds a directory with certificates for each host
}

func (t transfer) dirOf(i int) string { return filepath.Join(t.dir, t.targets[i].Name) }

// kbit is the rate to tell a tool in kbit/s.
func (t transfer) kbit() int { return int(t.Mbit * 1000) }

// flow is the rate in bytes per second from which on what the source sends is data: a quarter of the link's.
func (t transfer) flow() float64 {
	if t.Mbit == 0 {
		return 25e6
	}
	return t.Mbit * 1e6 / 8 / 4
}

const port = 7400

var tools = []*tool{
	{
		name: "scatter", ready: "ready", complete: "complete", file: "payload", reuses: true,
		receive: func(t transfer, i int) []string {
			return []string{t.own, "receive", "-tls", filepath.Join(t.tls, t.targets[i].Name), "-size", fmt.Sprint(t.size), t.dirOf(i) + "/payload"}
		},
		send: func(t transfer) []string {
			rate := int64(t.Mbit * 1e6 / 8)
			if rate == 0 {
				rate = noRate
			}
			args := []string{t.own, "send", "-tls", filepath.Join(t.tls, t.source.Name), "-rate", fmt.Sprint(rate), "-size", fmt.Sprint(t.size), t.payload}
			for _, h := range t.targets {
				args = append(args, h.Name+"="+h.Addr.String())
			}
			return args
		},
	},
	uftp("uftp"),
	uftp("uftp-sealed", "-Y", "aes256-gcm", "-h", "sha256", "-e", "ecdh_ecdsa", "-K", "prime256v1"),
	{
		name: "udpcast", ready: "UDP receiver", file: "payload",
		receive: func(t transfer, i int) []string {
			return []string{peer("udp-receiver"), "--nokbd", "--interface", t.targets[i].Interface, "--file", t.dirOf(i) + "/payload"}
		},
		send: func(t transfer) []string {
			args := []string{peer("udp-sender"), "--nokbd", "--interface", t.source.Interface, "--file", t.payload, "--min-receivers", fmt.Sprint(len(t.targets)),
				"--nopointopoint"}
			if t.Mbit > 0 {
				args = append(args, "--max-bitrate", fmt.Sprintf("%dk", t.kbit()))
			}
			return args
		},
	},
	{
		name: "tcp", ready: "ready", complete: "complete", file: "payload", reuses: true, shares: true,
		receive: func(t transfer, i int) []string {
			return []string{t.own, "tcp-receive", "-size", fmt.Sprint(t.size), t.dirOf(i) + "/payload"}
		},
		send: func(t transfer) []string {
			args := []string{t.own, "tcp-send", "-size", fmt.Sprint(t.size), t.payload}
			for _, h := range t.targets {
				args = append(args, h.Addr.String())
			}
			return args
		},
	},
}

// noRate is told where links are not shaped: far more than two cores move.
const noRate = 100e9 / 8

// uftp is the tool of that name, sealed with some options at its sender. Blocks fill the frame: 1,448 bytes, and 1,400 with a seal.
func uftp(name string, seal ...string) *tool {
	block, key := "1448", []string(nil)
	if len(seal) > 0 {
		block, key = "1400", []string{"-K", "ec:prime256v1"}
	}
	return &tool{
		name: name, ready: "UFTP version", complete: "File transfer complete", file: "payload", stays: true,
		receive: func(t transfer, i int) []string {
			args := []string{peer("uftpd"), "-d", "-q", "-x", "2", "-I", t.targets[i].Interface, "-D", t.dirOf(i), "-B", "16777216", "-U", fmt.Sprintf("0x%08x", i+1)}
			return append(args, key...)
		},
		send: func(t transfer) []string {
			rate := "-1"
			if t.Mbit > 0 {
				rate = fmt.Sprint(t.kbit())
			}
			args := append([]string{peer("uftp"), "-I", t.source.Interface, "-R", rate, "-b", block, "-D", "payload"}, seal...)
			var clients []string
			for i := range t.targets {
				clients = append(clients, fmt.Sprintf("0x%08x", i+1))
			}
			return append(args, "-H", strings.Join(clients, ","), t.payload)
		},
	}
}

// peer is the path of a program that bench/setup.sh has fetched.
func peer(program string) string {
	dir, err := cache.Dir()
	if err != nil {
		return program
	}
	for _, sub := range []string{"bin", "sbin"} {
		path := filepath.Join(dir, "peers", "usr", sub, program)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return program
}

func toolNamed(name string) *tool {
	for _, t := range tools {
		if t.name == name {
			return t
		}
	}
	return nil
}

func toolNames() string {
	var all []string
	for _, t := range tools {
		all = append(all, t.name)
	}
	return strings.Join(all, ", ")
}
