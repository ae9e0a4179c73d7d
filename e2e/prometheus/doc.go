// Package prometheus pins promtool, for e2e/prometheus.
package prometheus
