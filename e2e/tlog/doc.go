// Package tlog holds what real witnesses are built from, a reader of the ledger by a tlog client that is not ours, and the test of the
// gateway with both.
package tlog
