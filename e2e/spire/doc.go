// Package spire holds what a SPIRE server and agent are built from, and the test of the gateway with them.
package spire
