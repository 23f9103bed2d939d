package rehearsal

// Ports are the TCP ports that are claimed, for tests from outside.
func (c *Claims) Ports() (ports []uint16) {
	for _, l := range c.ports {
		ports = append(ports, l.port)
	}
	return ports
}

// Sockets are the unix sockets that are claimed, for tests from outside.
func (c *Claims) Sockets() []string { return c.sockets }
