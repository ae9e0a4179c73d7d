// Package kube holds what a cluster's control plane is built from, and the test of the CRDs against it.
package kube
