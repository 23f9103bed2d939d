// Package network tests package multicast on the lab's network, without guests. Its tests have the build tag lab.
package network
